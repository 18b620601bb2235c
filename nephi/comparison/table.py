"""The table of a comparison in Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from nephi.comparison.plan import ComparisonPlan
from nephi.comparison.settings import budget_table, scoring_table
from nephi.errors import printable
from nephi.runtime import versions

Row = Mapping[str, Any]

COLUMNS = {
    "dice": ("Dice", ".4f"),
    "dice_worst_percent": ("Dice, worst 1 %", ".4f"),
    "tre_mm": ("TRE, mm", ".3f"),
    "folding_percent": ("det J <= 0, %", ".4f"),
    "smallest": ("smallest det J", ".3f"),
    "sd_log_jacobian": ("SD log det J", ".3f"),
    "inverse_error_mm": ("inverse error, mm", ".4f"),
    "inverse_error_max_mm": ("max, mm", ".3f"),
    "equivariance_uu_mm": ("[U,U], mm", ".4f"),
    "equivariance_wu_mm": ("[W,U], mm", ".4f"),
    "parameters": ("parameters", ",d"),
    "training_step_mb": ("training step, MB", ".0f"),
    "prediction_cpu_s": ("prediction, CPU s", ".3g"),
    "steps": ("steps", "d"),
    "minutes": ("minutes", ".1f"),
}
"""The columns of the table by the keys of a row: heading and format."""
BEFORE = {"dice_before": "dice", "tre_before_mm": "tre_mm"}  # measures of the initial alignment, and their columns
NOTES = (
    "Means over the pairs of the split, at the voxel centres of the model's input; the smallest det J, and the largest "
    "inverse error of any pair. The inverse error of a model that predicts no inverse is that of its prediction for "
    "the exchanged images. [U,U] and [W,U]: distance between the prediction for moved images and the moved prediction, "
    "with equal and with different movements of the two images. Training step: peak memory of a process above that "
    "after the imports. Prediction: forward pass, and the transform at all voxel centres. Minutes are those of the "
    "training steps, without validations."
)


def comparison_markdown(plan: ComparisonPlan, rows: Sequence[Row]) -> str:
    """Return the table in Markdown: a row for each model, columns that no model has left out; errors below it."""
    columns = {key: column for key, column in COLUMNS.items() if any(key in row for row in rows)}
    lines = ["# Comparison of models", "", f"- budget of each model: {describe_budget(plan)}"]
    lines += [f"- scored on {plan.pairs} pairs of the split {plan.scoring.split}", f"- date: {date.today()}"]
    lines += [f"- versions: {', '.join(f'{name} {version}' for name, version in versions().items())}", ""]
    lines += [
        f"| model | {' | '.join(heading for heading, _ in columns.values())} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    if before := _before(rows):
        lines.append(f"| before | {' | '.join(_cell(before, key) for key in columns)} |")
    lines += [f"| {row['name']} | {' | '.join(_cell(row, key) for key in columns)} |" for row in rows]
    lines += ["", NOTES]
    for row in rows:
        if "error" in row:
            lines += ["", f"{row['name']} failed: {printable(row['error'])}"]
    return "\n".join(lines) + "\n"


def comparison_json(plan: ComparisonPlan, rows: Sequence[Row]) -> str:
    """Return the rows in JSON, below the budget and the settings of the scoring."""
    about = {"date": str(date.today()), "versions": versions(), "scored_pairs": plan.pairs}
    tables = {"budget": budget_table(plan.budget), "scoring": scoring_table(plan.scoring)}
    return json.dumps({"about": {**about, **tables}, "rows": list(rows)}, indent=2) + "\n"


def describe_budget(plan: ComparisonPlan) -> str:
    """Return the budget as text."""
    budget = plan.budget
    amount = f"{budget.minutes:g} minutes" if budget.minutes else f"{budget.steps} steps"
    threads = (
        "all cores" if not budget.threads else f"{budget.threads} {'thread' if budget.threads == 1 else 'threads'}"
    )
    return f"{amount} on {threads}"


def _before(rows: Sequence[Row]) -> dict[str, float]:
    """Return the measures of the initial alignment, which are those of all models of equal inputs."""
    first = next((row for row in rows if BEFORE.keys() & row.keys()), {})
    return {column: first[name] for name, column in BEFORE.items() if name in first}


def _cell(row: Row, key: str) -> str:
    value = row.get(key)
    return "" if value is None else format(value, COLUMNS[key][1])
