"""`nephi train` and `nephi finetune`."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import FILE, Command, device_option, verbosity_options
from .printing import echo, print_rows, progress_bar

if TYPE_CHECKING:
    from nephi.models import StoredModel
    from nephi.training import TrainSettings

INTERRUPTED = 130
# Loggers of Lightning Fabric that print the rank of every process.
CHATTER = ("lightning_fabric.utilities.distributed", "lightning_fabric.utilities.rank_zero")


def training_options(command: Command) -> Command:
    """Add the options that both commands share."""
    for option in reversed(
        (
            click.option("-o", "--output", type=FILE, required=True, metavar="RUN", help="Folder for the run."),
            click.option("--resume", is_flag=True, help="Continue the run in RUN from its last checkpoint."),
            click.option("--overwrite", is_flag=True, help="Delete the existing run in RUN and start a new one."),
            device_option,
            click.option(
                "--devices",
                type=click.IntRange(min=1),
                metavar="N",
                default=1,
                show_default=True,
                help="Number of processes on this machine, one per GPU; use torchrun for several machines.",
            ),
            verbosity_options,
        )
    ):
        command = option(command)
    return command


def _print_presets(context: click.Context, _: click.Parameter, chosen: bool) -> None:
    if not chosen or context.resilient_parsing:
        return
    import nephi

    for name, title in nephi.training.training_presets().items():
        echo(f"{name:16} {title}")
    context.exit()


@click.command(short_help="Train a model on a data set.")
@click.argument("config", type=FILE, metavar="[CONFIG.toml]", required=False)
@click.option(
    "--preset",
    metavar="NAME",
    help="Settings of a published method, which CONFIG.toml may override; see --list-presets.",
)
@click.option(
    "--list-presets", is_flag=True, is_eager=True, expose_value=False, callback=_print_presets, help="List the presets."
)
@click.option("--data", type=FILE, metavar="INDEX", help="Index of the data set, or its folder; overrides CONFIG.toml.")
@training_options
def train(config: Path | None, preset: str | None, data: Path | None, **options: Any) -> None:
    """Train a model that predicts deformations, and write it to the folder RUN.

    \b
    nephi train shapes.toml -o runs/shapes
    nephi train --preset gradicon --data shapes -o runs/shapes
    nephi train shapes.toml -o runs/shapes --resume
    torchrun --nproc-per-node 4 -m nephi.cli train shapes.toml -o runs/shapes

    CONFIG.toml contains the settings of data set, model and training; a line `preset = "NAME"` in it has the same
    effect as --preset. Files in RUN:

    \b
    best.safetensors   model with the best validation score
    last.safetensors   model of the last checkpoint
    state.safetensors  optimizer state, for --resume
    log.csv, validation.csv, tensorboard/  losses, scores and figures
    config.toml        all settings, defaults included

    Ctrl-C writes a checkpoint and exits with code 130. Requires `pip install nephi[train]`.
    """
    import nephi

    if config is None and preset is None:
        raise nephi.UsageError("CONFIG.toml, --preset: expected at least one of them, got none")
    _require_outside(options["output"], *(path for path in (config, data) if path is not None))
    _run(nephi.training.read_train_settings(config, preset=preset, data=data), None, **options)


@click.command(short_help="Continue the training of a model on another data set.")
@click.argument("model", type=FILE, metavar="MODEL")
@click.argument("config", type=FILE, metavar="CONFIG.toml")
@training_options
def finetune(model: Path, config: Path, **options: Any) -> None:
    """Train a copy of MODEL on the data set of CONFIG.toml, and write it to the folder RUN.

    \b
    nephi finetune runs/lungs/best.safetensors clinic.toml -o runs/clinic

    CONFIG.toml has no tables for the input and architecture of the model, which are those of MODEL; only a longer list
    of composed steps, such as model.downsampling, adds networks after those of MODEL. All else is as for
    `nephi train`.
    """
    import nephi

    stored = nephi.read_model(model)
    _require_outside(options["output"], model, config)
    _run(nephi.training.read_train_settings(config, stored), stored, **options)


def _require_outside(run: Path, *inputs: Path) -> None:
    """Raise `DataError` for an input in the folder of the run, where --overwrite would delete it."""
    import nephi

    for path in inputs:
        if run.resolve() in path.resolve().parents:
            raise nephi.DataError(f"-o: expected a folder that does not contain the input {path}, got {run}")


def _run(
    settings: TrainSettings,
    model: StoredModel | None,
    output: Path,
    *,
    resume: bool,
    overwrite: bool,
    device: str,
    devices: int,
    quiet: bool,
    verbose: bool,
) -> None:
    """Train with a progress bar and print a summary; exit with code 130 after an interruption."""
    import nephi

    for name in CHATTER:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Warnings of torch about Lightning Fabric's code: users cannot act on them.
    warnings.filterwarnings("ignore", category=FutureWarning, module="lightning_fabric")
    # Of several processes, only rank 0 prints.
    quiet = quiet or os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) != "0"
    if verbose and not quiet:
        echo(nephi.training.train_settings_toml(settings))
    with progress_bar(quiet) as progress:
        result = nephi.train(
            settings,
            output,
            model=model,
            resume=resume,
            overwrite=overwrite,
            device=device,
            devices=devices,
            progress=progress,
        )
    if not quiet:
        rows = [("steps", f"{result.steps} of {result.planned}"), ("last model", str(result.last))]
        if result.best is not None:
            rows.append((f"best model (step {result.best_step})", str(result.best)))
        rows.append(("curves and figures", f"tensorboard --logdir {result.folder}"))
        print_rows("Trained" if result.finished else "Interrupted: checkpoint written; continue with --resume", rows)
    if not result.finished:
        raise click.exceptions.Exit(INTERRUPTED)
