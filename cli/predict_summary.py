"""The measures of `nephi predict`: one row per pair, summary.csv, means over all pairs."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nephi.errors import printable

from .printing import print_rows
from .registration_options import FILES
from .supervision import Row

if TYPE_CHECKING:
    from nephi.datasets import PairFiles

MEASURES = {
    "tre_before_mm": "TRE before",
    "tre_mm": "TRE",
    "dice_before": "Dice before",
    "dice": "Dice",
    "folding_percent": "det J <= 0",
    "inverse_consistency_mm": "inverse consistency",
    "matched_percent": "structures matched",
    "seconds": "seconds per pair",
    "cpu_seconds": "CPU seconds per pair",
}
COLUMNS = ("pair", "fixed", "moving", "quality", "reasons", *MEASURES, "warnings", "error")
LARGEST = 1e300  # beyond every measure; an integer in JSON may have too many digits to be converted
FORMULA = ("=", "+", "-", "@")  # first characters of a formula in spreadsheets
ENDINGS = {"_mm": "mm", "_percent": "%"}  # of the names of measures, with their units
UNITS = {name: f" {unit}" for name in MEASURES for ending, unit in ENDINGS.items() if name.endswith(ending)}


def row_of_report(case: PairFiles, report: Mapping[str, Any]) -> Row:
    """Return the row of a pair from its report, without measures that are missing in it."""
    tre, dice = report.get("tre_mm"), report.get("dice")
    regularity = report.get("inside_mask") or report["whole_grid"]
    quality = report["quality"]
    matched = quality["after"]["matched"]
    stages = [stage for name, stage in report["usage"]["stages"].items() if name != "export"]
    cells = {
        "tre_before_mm": tre and tre["before"],
        "tre_mm": tre and tre["mean"],
        "dice_before": dice and dice["before"],
        "dice": dice and dice["mean"],
        "folding_percent": regularity["folding_percent"],
        "inverse_consistency_mm": report.get("inverse_consistency_mm"),
        "seconds": sum(stage["wall_s"] for stage in stages),
        "cpu_seconds": sum(stage["cpu_s"] for stage in stages),
        "quality": quality["verdict"],
        "reasons": "; ".join(quality["reasons"]) or None,
        "matched_percent": None if matched is None else 100 * matched,
        "warnings": len(report.get("warnings") or ()),
    }
    return pair_cells(case) | {name: value for name, value in cells.items() if value is not None}


def failed_row(case: PairFiles, error: str) -> Row:
    """Return the row of a pair that could not be registered."""
    return pair_cells(case) | {"error": error}


def finished_row(case: PairFiles, folder: Path, save: Sequence[str], provenance: Mapping[str, Any]) -> Row | None:
    """Return the row of existing results, None if they are missing or incomplete.

    Raises `DataError` for results of other images, or of another model, refinement, seed or settings.
    """
    import nephi

    if not all((folder / FILES[name]).is_file() for name in save):
        return None
    try:
        report = json.loads((folder / FILES["report"]).read_text(encoding="utf-8"))
        origin = {name: report.get(name) for name in provenance}
        files = report.get("files") or {side: os.path.abspath(report[side]) for side in ("fixed", "moving")}
        images = {side: os.path.realpath(nephi.io.located_path(files[side], folder)) for side in ("fixed", "moving")}
        row = row_of_report(case, report)
        if not all(-LARGEST < row[name] < LARGEST for name in MEASURES if name in row):
            return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    expected = {**provenance, "fixed": os.path.realpath(case.fixed), "moving": os.path.realpath(case.moving)}
    for name, value in {**origin, **images}.items():
        if value != expected[name]:
            is_digest = name == "settings_digest"
            difference = "with other settings" if is_digest else f"with {name} {value}, not {expected[name]}"
            raise nephi.DataError(f"{folder}: contains results {difference}; use --overwrite or another folder")
    return row


def describe_row(row: Row, verbose: bool) -> str:
    """Return a row as one line of text."""
    parts = [f"{MEASURES[name]} {row[name]:.3f}{UNITS.get(name, '')}" for name in MEASURES if name in row]
    if count := row.get("warnings"):
        parts.insert(-1, f"{count} {'warning' if count == 1 else 'warnings'}")
    parts.insert(0, f"quality {row['quality']}")
    return f"{row['pair']}: {', '.join(parts if verbose else parts[:-1])}"


def write_summary(rows: Sequence[Row], path: Path) -> None:
    """Write all rows as a CSV table; the file is complete or absent."""
    import nephi

    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(name, value) for name, value in row.items()})
    nephi.io.write_text(path, text.getvalue())


def _cell(column: str, value: Any) -> Any:
    """Return a value for the table: text in one line, and none that a spreadsheet evaluates as a formula.

    (Names of pairs consist of letters, digits and a few signs, too few for a harmful formula.)
    """
    if isinstance(value, float):
        return f"{value:.6g}"
    if not isinstance(value, str):
        return value
    text = printable(value)
    if column == "pair" or not text.startswith(FORMULA):
        return text
    return f"'{text}" if column in ("error", "reasons") else f"./{text}"


def print_summary(rows: Sequence[Row], folder: Path) -> None:
    """Print the means over all registered pairs."""
    registered = [row for row in rows if "error" not in row]
    lines = [("pairs", f"{len(registered)} of {len(rows)}")]
    if warned := sum(row.get("warnings", 0) > 0 for row in registered):
        lines.append(("pairs with warnings", str(warned)))
    for verdict in ("check", "failed"):
        if count := sum(row["quality"] == verdict for row in registered):
            lines.append((f"pairs of quality {verdict}", str(count)))
    for name, label in MEASURES.items():
        if values := [row[name] for row in registered if name in row]:
            lines.append((f"{label}, mean", f"{sum(values) / len(values):.3f}{UNITS.get(name, '')}"))
    print_rows("Predicted", [*lines, ("results", str(folder))])


def pair_cells(case: PairFiles) -> Row:
    """Return the first cells of a pair's row."""
    return {"pair": case.name, "fixed": str(case.fixed), "moving": str(case.moving)}
