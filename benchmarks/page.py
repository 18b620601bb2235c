"""Write the page of the comparison: machine, a table per pair, conclusions."""

from __future__ import annotations

from typing import Any

from verdicts import verdicts

COLUMNS = {
    "tre_mean_mm": "TRE mean, mm",
    "tre_median_mm": "median",
    "tre_p90_mm": "p90",
    "tre_still_mm": "walls mean",
    "dice_mean": "Dice",
    "folding_percent": "J <= 0, %",
    "sd_log_jacobian": "SD log J",
    "inverse_error_mm": "inverse error, mm",
    "cpu_s": "CPU s",
    "fit_cpu_s": "affine + fit CPU s",
    "wall_s": "wall s",
    "peak_mb": "peak MB",
}
DIGITS = {"cpu_s": 1, "fit_cpu_s": 1, "wall_s": 0, "peak_mb": 0, "folding_percent": 4}
NOTES = """
Every row is a separate process from image files to a displacement field; rows run one at a time. CPU is user + system
time of all threads of the process; `affine + fit` is the part that nephi reports for these two stages. All fields are
scored by the same code (`benchmarks/scoring.py`). TRE is not rounded to voxels. Where an organ slides along walls, TRE
is that of the organ, and `walls mean` that of points in walls and spine; these pairs, the stains and local motion have
no masks. The Jacobian determinant J, from central differences of the exported field, and the inverse error are
evaluated inside the fixed mask (brains: inside the labels). The settings of the other tools are in
`benchmarks/peers/run_*.py`; all others are the defaults of the tool (greedy: double precision; `greedy single` is
single precision). For small pairs (fewer than 1.5 million voxels) the target of memory is at most 150 MB above the
imports. The time of a tool includes the dilation of masks, reading and writing. For a row that was run several times,
the run with the median CPU time is shown, with minimum and maximum in brackets. Times vary between machines and with
their load: compare times of the same run only, and only the errors of rows marked `elsewhere`. Rows may be measured in
different hours. The presets of nephi were chosen by measurements on these pairs and others.
"""


def page(about: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Return the whole page in Markdown."""
    facts = [f"- {name}: {value}" for name, value in about.items() if name not in ("floors", "command")]
    facts += [
        f"- rows measured by: `{command}`" for command in dict.fromkeys(row.get("run_by") for row in rows) if command
    ]
    dates = sorted({row["date"] for row in rows if "date" in row})
    facts.append(f"- rows measured: {' to '.join(sorted({dates[0], dates[-1]}))}" if dates else "- no rows yet")
    facts += _elsewhere(rows, about["machine"])
    facts += [f"- {name}: {version}" for name, version in _versions(rows).items()]
    lines = ["# nephi compared with other tools", "", *facts, NOTES, *bare_imports(about["floors"])]
    for pair in dict.fromkeys(row["pair"] for row in rows):
        rows_of_pair = [row for row in rows if row["pair"] == pair]
        lines += [
            f"## {pair}",
            "",
            _before(rows_of_pair),
            *table(rows_of_pair, about["machine"]),
            "",
            *verdicts(pair, rows, about["floors"]),
            "",
        ]
    return "\n".join([*lines, *commands(rows)])


def bare_imports(floors: list[dict[str, Any]]) -> list[str]:
    """Return a table of the cost of the imports."""
    lines = [
        "## Imports: minimal time and memory",
        "",
        "| | peak MB | CPU s | command |",
        "|---|---|---|---|",
    ]
    for row in floors:
        lines.append(f"| {row['method']} | {_cell(row, 'peak_mb')} | {_cell(row, 'cpu_s')} | `{row['command']}` |")
    return [*lines, ""]


def table(rows: list[dict[str, Any]], machine: str) -> list[str]:
    """Return one table: all columns with a value in some row, and a column of notes if there are any."""
    columns = {key: title for key, title in COLUMNS.items() if any(key in row for row in rows)}
    has_notes = any("error" in row for row in rows)
    head = ["method", *columns.values(), *(["note"] if has_notes else [])]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        note = [" ".join(row.get("error", "").replace("|", "/").split())] if has_notes else []
        name = row["method"] + ("" if row.get("machine", machine) == machine else " (elsewhere)")
        lines.append(f"| {' | '.join([name, *(_cell(row, key) for key in columns), *note])} |")
    return lines


def commands(rows: list[dict[str, Any]]) -> list[str]:
    """Return the command of every method, for the first pair on which it was run."""
    first: dict[str, str] = {}
    for row in rows:
        if "command" in row:
            first.setdefault(row["method"], row["command"])
    lines = ["## Commands", "", "For the first pair; `DATA` and `WORK` are folders.", ""]
    return [*lines, *(f"- {name}: `{command}`" for name, command in first.items()), ""]


def _before(rows: list[dict[str, Any]]) -> str:
    values = [row["tre_before_mm"] for row in rows if "tre_before_mm" in row]
    return f"Mean landmark error before registration: {values[0]:.2f} mm.\n" if values else ""


def _elsewhere(rows: list[dict[str, Any]], machine: str) -> list[str]:
    """Return the methods and pairs that were measured on other machines."""
    places: dict[str, dict[str, list[str]]] = {}  # pairs by method and machine
    for row in rows:
        places.setdefault(row["method"], {}).setdefault(row.get("machine", machine), []).append(row["pair"])
    others: dict[str, list[str]] = {}
    for method, values in places.items():
        for place, pairs in values.items():
            if place != machine:
                others.setdefault(place, []).append(method if len(values) == 1 else f"{method} ({', '.join(pairs)})")
    return [f"- elsewhere, on {place}: {'; '.join(methods)}" for place, methods in others.items()]


def _versions(rows: list[dict[str, Any]]) -> dict[str, str]:
    values = {row["method"]: row["version"] for row in rows if "version" in row}
    return {name: version for name, version in values.items() if not name.startswith("nephi")}


def _cell(row: dict[str, Any], key: str) -> str:
    if key not in row:
        return ""
    text = f"{row[key]:.{DIGITS.get(key, 3)}f}"
    all_runs = [run[key] for run in row.get("runs", ()) if key == "cpu_s"]
    return f"{text} ({min(all_runs):.1f} to {max(all_runs):.1f})" if len(all_runs) > 1 else text
