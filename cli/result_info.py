"""`nephi info` on results: folders and reports of registrations, of evaluations, and of many pairs.

Values in a file may be of any type: those that are not as expected are shown as `unknown`.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .printing import Rows

REPORT, TRANSFORM, SUMMARY, PAGE = "report.json", "transform.nephi", "summary.csv", "report.html"
REGIONS = {"inside_mask": "inside the mask", "whole_grid": "whole grid", "regularity": "evaluated voxels"}
LARGEST = 1e300  # beyond every measure; an integer in JSON may have too many digits to be printed


def is_result_folder(folder: Path) -> bool:
    """Return whether a folder holds the report of a registration, or the summary of many."""
    return any((folder / name).is_file() for name in (REPORT, SUMMARY))


def describe_result_folder(folder: Path) -> tuple[str, Rows]:
    """Return a title and rows of a folder of `nephi register`, `nephi predict` or `nephi register-group`."""
    import nephi

    if not (folder / REPORT).is_file():
        return describe_summary(folder / SUMMARY)
    report = nephi.results.read_report(folder / REPORT)
    names = [name for name in (*nephi.results.OUTPUTS.values(), PAGE) if (folder / name).is_file()]
    return f"{folder}: result of a registration", [*report_rows(report, folder), ("files", ", ".join(names))]


def describe_report(file: Path) -> tuple[str, Rows]:
    """Return a title and rows of a report of `nephi register`, or of the measures of `nephi evaluate --json`."""
    import nephi

    report = nephi.results.read_report(file)
    kind = "report of a registration" if "settings" in report else "measures of nephi evaluate"
    return f"{file}: {kind}", report_rows(report, file.parent)


def report_rows(report: Mapping[str, Any], folder: Path) -> Rows:
    """Return rows of a report in `folder`: the images, the verdict, the measures, warnings and versions."""
    rows = [(side, _image(report, side, folder)) for side in ("fixed", "moving") if side in report]
    quality = _table(report, "quality")
    if quality:
        reasons = quality.get("reasons")
        rows.append(("quality", str(quality.get("verdict", "unknown"))))
        rows += [("", str(reason)) for reason in (reasons if isinstance(reasons, list) else [])]
    if tre := _table(report, "tre_mm"):
        rows.append(("TRE, mean", f"{_number(tre, 'mean', '.3f')} mm ({_number(tre, 'before', '.3f')} mm before)"))
    if dice := _table(report, "dice"):
        rows.append(("Dice, mean", f"{_number(dice, 'mean', '.3f')} ({_number(dice, 'before', '.3f')} before)"))
    if surface := _table(report, "surface_mm"):
        before = _number(_table(surface, "before"), "mean", ".3f")
        rows.append(("surface distance, mean", f"{_number(surface, 'mean', '.3f')} mm ({before} mm before)"))
    for key, region in REGIONS.items():
        if regularity := _table(report, key):
            smallest = _number(regularity, "smallest", ".3f")
            folding = f"{_number(regularity, 'folding_percent', '.4f')} %   smallest det J {smallest}"
            rows.append((f"det J <= 0, {region}", folding))
    if "inverse_consistency_mm" in report:
        rows.append(("inverse consistency", f"{_number(report, 'inverse_consistency_mm', '.4f')} mm"))
    if "model" in report:
        rows.append(("predicted by", f"model {report['model']}"))
    if usage := _table(report, "usage"):
        rows.append(("whole process", f"{_number(usage, 'process_cpu_s', '.1f')} CPU s"))
    if isinstance(warnings := report.get("warnings"), list):
        rows.append(("warnings", str(len(warnings))))
    if versions := _table(report, "versions"):
        rows.append(("versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    return rows


def describe_summary(file: Path) -> tuple[str, Rows]:
    """Return a title and rows of `summary.csv`: the number of pairs, and the means of the measures."""
    from nephi import DataError

    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            lines = list(csv.DictReader(stream))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{file}: expected the table of nephi predict, could not read it ({error})") from None
    failed = [line for line in lines if line.get("error")]
    rows = [("pairs", str(len(lines))), ("failed", str(len(failed)))]
    for name in ("tre_before_mm", "tre_mm", "dice_before", "dice", "folding_percent"):
        values = [value for line in lines if (value := _parsed(line.get(name))) is not None]
        if values:
            rows.append((f"{name}, mean", f"{sum(values) / len(values):.4g}"))
    written = time.strftime("%Y-%m-%d %H:%M", time.localtime(file.stat().st_mtime))
    return f"{file}: results of {len(lines)} pairs", [*rows, ("written", written)]


def _image(report: Mapping[str, Any], side: str, folder: Path) -> str:
    """Return the name of an image, and its path if it is not there any more."""
    import nephi

    recorded = _table(report, "files").get(side)
    if not isinstance(recorded, str):
        return str(report[side])
    path = nephi.io.located_path(recorded, folder)
    return str(path) if path.exists() else f"{path} (no longer exists)"


def _table(report: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = report.get(key)
    return value if isinstance(value, dict) else {}


def _number(table: Mapping[str, Any], key: str, form: str) -> str:
    value = table.get(key)
    if not isinstance(value, int | float) or not -LARGEST < value < LARGEST:
        return "unknown"
    return format(float(value), form)


def _parsed(text: str | None) -> float | None:
    """Return a number of a table; None for an empty cell or other text."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if -LARGEST < value < LARGEST else None
