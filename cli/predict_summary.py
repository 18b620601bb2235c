"""What `nephi predict` tells of many pairs: a line for each, a table on disk, means."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nephi.errors import printable

from .journal import Row
from .register_options import FILES
from .tables import print_rows

if TYPE_CHECKING:
    from nephi.datasets import PairFiles

MEASURES = {
    "tre_before_mm": "landmark error before",
    "tre_mm": "landmark error",
    "dice_before": "Dice before",
    "dice": "Dice",
    "folding_percent": "J <= 0",
    "inverse_consistency_mm": "inverse consistency",
    "seconds": "seconds a pair",
    "cpu_seconds": "CPU seconds a pair",
}
COLUMNS = ("pair", "fixed", "moving", *MEASURES, "warnings", "error")
HUGE = 1e300  # beyond every measure; a whole number in JSON may be too long to be printed
FORMULA = ("=", "+", "-", "@")
UNITS = {"folding_percent": " %", "tre_before_mm": " mm", "tre_mm": " mm", "inverse_consistency_mm": " mm"}


def row_of_report(case: PairFiles, report: Mapping[str, Any]) -> Row:
    """Return what a pair's report says in one row; what was not measured is left out."""
    tre, dice = report.get("tre_mm"), report.get("dice")
    regularity = report.get("inside_mask") or report["whole_grid"]
    stages = [stage for name, stage in report["usage"]["stages"].items() if name != "export"]
    found = {
        "tre_before_mm": tre and tre["before"],
        "tre_mm": tre and tre["mean"],
        "dice_before": dice and dice["before"],
        "dice": dice and dice["mean"],
        "folding_percent": regularity["folding_percent"],
        "inverse_consistency_mm": report.get("inverse_consistency_mm"),
        "seconds": sum(stage["wall_s"] for stage in stages),
        "cpu_seconds": sum(stage["cpu_s"] for stage in stages),
        "warnings": len(report.get("warnings") or ()),
    }
    return named(case) | {name: value for name, value in found.items() if value is not None}


def failed_row(case: PairFiles, error: str) -> Row:
    """Return the row of a pair that could not be registered."""
    return named(case) | {"error": error}


def finished_row(case: PairFiles, folder: Path, save: Sequence[str], about: Mapping[str, Any]) -> Row | None:
    """Return the row of a result that is there already; None where there is none, or not all of it.

    Raises `DataError` for the result of other images, or of another model, refinement, seed or settings.
    """
    import nephi

    if not all((folder / FILES[name]).is_file() for name in save):
        return None
    try:
        report = json.loads((folder / FILES["report"]).read_text(encoding="utf-8"))
        made = {name: report.get(name) for name in about}
        images = {side: os.path.realpath(report[side]) for side in ("fixed", "moving")}
        row = row_of_report(case, report)
        if not all(-HUGE < row[name] < HUGE for name in MEASURES if name in row):
            return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    expected = {**about, "fixed": os.path.realpath(case.fixed), "moving": os.path.realpath(case.moving)}
    for name, value in {**made, **images}.items():
        if value != expected[name]:
            was = "of other settings" if name == "settings_digest" else f"whose {name} is {value}, not {expected[name]}"
            raise nephi.DataError(f"{folder}: holds a result {was}; give --overwrite, or another folder")
    return row


def told(row: Row, verbose: bool) -> str:
    """Return a row in words."""
    parts = [f"{MEASURES[name]} {row[name]:.3f}{UNITS.get(name, '')}" for name in MEASURES if name in row]
    if count := row.get("warnings"):
        parts.insert(-1, f"{count} {'warning' if count == 1 else 'warnings'}")
    return f"{row['pair']}: {', '.join(parts if verbose else parts[:-1])}"


def write_summary(rows: Sequence[Row], path: Path) -> None:
    """Write all rows as a CSV table, whole or not at all."""
    import nephi

    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(name, value) for name, value in row.items()})
    nephi.io.write_text(path, text.getvalue())


def _cell(column: str, value: Any) -> Any:
    """Return a value as the table holds it: texts in one line, and none that a spreadsheet takes for a formula.

    (Names of pairs hold letters, digits and a few signs: not enough for one that does anything.)
    """
    if isinstance(value, float):
        return f"{value:.6g}"
    if not isinstance(value, str):
        return value
    text = printable(value)
    if column == "pair" or not text.startswith(FORMULA):
        return text
    return f"'{text}" if column == "error" else f"./{text}"


def summary_table(rows: Sequence[Row], folder: Path) -> None:
    """Print the means over all pairs that were registered."""
    done = [row for row in rows if "error" not in row]
    lines = [("pairs", f"{len(done)} of {len(rows)}")]
    if doubtful := sum(row.get("warnings", 0) > 0 for row in done):
        lines.append(("pairs with warnings", str(doubtful)))
    for name, words in MEASURES.items():
        if values := [row[name] for row in done if name in row]:
            lines.append((f"{words}, mean", f"{sum(values) / len(values):.3f}{UNITS.get(name, '')}"))
    print_rows("Predicted", [*lines, ("results", str(folder))])


def named(case: PairFiles) -> Row:
    """Return the first cells of a pair's row."""
    return {"pair": case.name, "fixed": str(case.fixed), "moving": str(case.moving)}
