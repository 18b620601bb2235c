"""`nephi compare-models`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import FILE, device_option, verbosity_options
from .printing import echo_line, print_rows, progress_bar

if TYPE_CHECKING:
    from nephi.comparison import ComparisonPlan

UNITS = {"dice": "Dice {:.4f}", "tre_mm": "TRE {:.3f} mm", "folding_percent": "det J <= 0 {:.4f} %"}


@click.command("compare-models", short_help="Train and score several models under one budget.")
@click.argument("config", type=FILE, metavar="CONFIG.toml")
@click.option("-o", "--output", type=FILE, required=True, metavar="OUT", help="Folder for runs, table and curves.")
@click.option("--score-only", is_flag=True, help="Train nothing; score the models in OUT again.")
@click.option("--overwrite", is_flag=True, help="Delete the models in OUT and train all again.")
@click.option("--dry-run", is_flag=True, help="Validate all inputs and print the plan, without computing anything.")
@device_option
@verbosity_options
def compare_models(
    config: Path,
    output: Path,
    score_only: bool,
    overwrite: bool,
    dry_run: bool,
    device: str,
    quiet: bool,
    verbose: bool,
) -> None:
    """Train the models of CONFIG.toml under one budget, and score them on the same unseen pairs.

    \b
    nephi compare-models family.toml -o family --dry-run
    nephi compare-models family.toml -o family

    CONFIG.toml has the tables of `nephi train` that hold for all models, a table [budget] with minutes or steps, and a
    table [[models]] for each model, with a name, a preset or a [models.model], and what differs from the common tables.

    \b
    comparison.md, comparison.json   scores and costs of all models
    curves.png                       validation measures against training time
    models/NAME/                     run, scores and measures of each pair

    After an interruption, repeat the command: finished models are kept, interrupted ones continue. If a model fails,
    the others are still trained, and the exit code is 3. Requires `pip install nephi[train]`.
    """
    import nephi

    if score_only and overwrite:
        raise nephi.UsageError("--score-only, --overwrite: expected at most one of them, got both")
    settings = nephi.comparison.read_comparison_settings(config)
    if output.resolve() in config.resolve().parents:
        raise nephi.DataError(f"-o: expected a folder that does not contain the input {config}, got {output}")
    if dry_run:
        _print_plan(nephi.comparison.plan_comparison(settings, device), verbose)
        return
    with progress_bar(quiet) as progress:
        result = nephi.comparison.compare_models(
            settings,
            output,
            score_only=score_only,
            overwrite=overwrite,
            device=device,
            progress=progress,
            finished=(lambda _: None) if quiet else _print_row,
        )
    for row in result.failed:
        echo_line(f"nephi: model {row['name']}: {row['error']}", err=True)
    if not quiet:
        files = [result.table, result.json, *([result.curves] if result.curves.exists() else [])]
        print_rows("Compared", [("", str(file)) for file in files])
    if result.failed:
        raise nephi.DataError(f"{len(result.failed)} of {len(result.rows)} models failed, see {result.table}")


def _print_row(row: Mapping[str, Any]) -> None:
    """Print the main scores of a model as one line."""
    parts = [text.format(row[name]) for name, text in UNITS.items() if name in row]
    parts += [f"{row['steps']} steps", f"{row['minutes']:.1f} minutes"] if "steps" in row else []
    echo_line(f"{row['name']}: {', '.join(parts)}")


def _print_plan(plan: ComparisonPlan, verbose: bool) -> None:
    """Print the models, their sizes, and the training time of all."""
    import nephi

    rows = []
    for model in plan.models:
        optimization, size = model.settings.optimization, model.size
        rows.append((model.name, f"{model.kind}, {size.parameters} parameters, batch {optimization.batch}"))
        if verbose:
            rows.append(("", f"{size.transform_parameters} numbers per transform"))
    budget = plan.budget
    rows.append(("budget of each", nephi.comparison.describe_budget(plan)))
    if budget.minutes:
        rows.append(
            ("all trainings", f"{budget.minutes * len(plan.models):g} minutes, without validations and scoring")
        )
    rows.append(("scored", f"{plan.pairs} pairs of the split {plan.scoring.split}"))
    print_rows("Plan (nothing is computed or written)", rows)
