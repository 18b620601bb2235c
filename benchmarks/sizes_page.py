"""Write the page of cost against image size: a table per method, then the targets."""

from __future__ import annotations

from typing import Any

from page import commands
from verdicts import met

SIZES = (128, 256, 384, 512)
FLOOR = "bare imports"
COLUMNS = {
    "fit_alone_cpu_s": "fit CPU s",
    "fit_cpu_s": "affine + fit CPU s",
    "cpu_s": "process CPU s",
    "peak_mb": "peak MB",
}
DIGITS = {"fit_alone_cpu_s": 2, "fit_cpu_s": 2, "cpu_s": 1, "peak_mb": 0}
LIMIT_MB = 1600.0  # nephi at the largest of SIZES
LIMIT_GROWTH = 1.3  # fit of nephi alone, from the smallest of SIZES to the largest
NOTES = """
Every row is a separate process with one thread, from two int16 volumes and their masks to a displacement field (nephi:
also the inverse field and the warped image, all compressed). CPU is user + system time; `fit` and `affine + fit` are
the parts that nephi reports for these stages. The affine stage includes the downsampling of large images. In round
brackets: the ratio to the smallest size of the same method; in square brackets: all runs, if there are several. greedy
runs in double precision, its default.
"""


def page(about: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Return the page in Markdown: a table per method, then the targets."""
    rows = [with_fit(row) for row in rows]
    lines = ["# Cost against image size", "", *(f"- {name}: {value}" for name, value in about.items()), NOTES]
    for name in dict.fromkeys(row["method"] for row in rows):
        rows_of_method = [row for row in rows if row["method"] == name]
        versions = sorted({row["version"] for row in rows_of_method if "version" in row})
        lines += [f"## {' '.join([name, *versions])}", "", *table(rows_of_method), ""]
    return "\n".join([*lines, "## Targets", "", *limits(rows), "", *commands(rows)])


def with_fit(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with the seconds of the fit alone, if its stages are known."""
    return row | {"fit_alone_cpu_s": row["stages"]["fit"]["cpu_s"]} if "stages" in row else row


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of one method, without empty columns."""
    columns = [key for key in COLUMNS if any(key in row for row in rows)]
    titles = ["size", "voxels", *(COLUMNS[key] for key in columns), "mean TRE, mm", "note"]
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    base = next((row for row in rows if "tre_mean_mm" in row), {})
    for row in rows:
        size = row["size"] if row["size"] == FLOOR else f"{row['size']} cubed"
        cells = [size, f"{row['voxels'] / 1e6:.1f} M" if "voxels" in row else ""]
        cells += [cell(row, key, base) for key in columns]
        cells += [f"{row['tre_mean_mm']:.3f}" if "tre_mean_mm" in row else "", row.get("error", "")]
        lines.append(f"| {' | '.join(' '.join(text.replace('|', '/').split()) for text in cells)} |")
    return lines


def cell(row: dict[str, Any], key: str, base: dict[str, Any]) -> str:
    """Return a number and its ratio to that of the smallest size."""
    if key not in row:
        return ""
    ratio = f" ({row[key] / base[key]:.2f})" if key in base and row["size"] != FLOOR else ""
    runs = [f"{run[key]:.{DIGITS[key]}f}" for run in row.get("runs", ()) if key in run]
    all_runs = f" [{', '.join(sorted(runs, key=float))}]" if key == "fit_cpu_s" and len(runs) > 1 else ""
    return f"{row[key]:.{DIGITS[key]}f}{ratio}{all_runs}"


def limits(rows: list[dict[str, Any]]) -> list[str]:
    """Return a line for each target of nephi."""
    by_size = {row["size"]: row for row in rows if row["method"] == "nephi" and "tre_mean_mm" in row}
    smallest, largest = by_size.get(min(SIZES)), by_size.get(max(SIZES))
    if smallest is None or largest is None:
        return [f"Not known: the rows of nephi are missing at {min(SIZES)} and {max(SIZES)} cubed."]
    growth, with_affine = (largest[key] / smallest[key] for key in ("fit_alone_cpu_s", "fit_cpu_s"))
    return [
        f"- {met(largest['peak_mb'] <= LIMIT_MB)}: peak at {max(SIZES)} cubed {largest['peak_mb']:.0f} MB "
        f"<= {LIMIT_MB:g} MB",
        f"- {met(growth <= LIMIT_GROWTH)}: the fit at {max(SIZES)} cubed {growth:.2f} <= {LIMIT_GROWTH:g} times that "
        f"at {min(SIZES)} cubed (affine and fit {with_affine:.2f} times)",
    ]
