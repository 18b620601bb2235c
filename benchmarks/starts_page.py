"""The page of starts.py: a line for each case on the screen, a table and the verdicts in Markdown."""

from __future__ import annotations

from collections import Counter
from statistics import median
from typing import Any

MOST = 0.05  # of the longest edge: the largest error of a start from which a fit succeeds
TITLES = ("group", "cases", "succeeded", "median error, mm", "worst, mm", "least margin", "CPU s a case", "failed")


def succeeded(row: dict[str, Any]) -> bool:
    """Return whether the error of a start is small enough for a fit."""
    return bool(row["error_mm"] <= MOST * row["edge_mm"])


def describe(row: dict[str, Any]) -> str:
    """Return the result of a case as text."""
    found = f", {row['hypothesis']}, margin {row['margin']:.2f}" if "margin" in row else ""
    verdict = "ok" if succeeded(row) else "FAILED"
    return f"{verdict} {row['before_mm']:.1f} -> {row['error_mm']:.2f} mm{found}, {row['cpu_s']:.2f} CPU s"


def table_line(rows: list[dict[str, Any]]) -> str:
    """Return the line of a group."""
    errors, failed = [row["error_mm"] for row in rows], [str(row["seed"]) for row in rows if not succeeded(row)]
    margins = [row["margin"] for row in rows if "margin" in row]
    cells = [rows[0]["group"], f"{len(rows)}", f"{len(rows) - len(failed)}", f"{median(errors):.2f}"]
    cells += [f"{max(errors):.2f}", f"{min(margins):.2f}" if margins else "", f"{seconds(rows):.2f}"]
    return f"| {' | '.join([*cells, 'seeds ' + ', '.join(failed) if failed else 'none'])} |"


def seconds(rows: list[dict[str, Any]]) -> float:
    """Return the mean CPU time of cases."""
    return sum(row["cpu_s"] for row in rows) / len(rows)


def verdict(rows: list[dict[str, Any]], planned: int) -> str:
    """Return how many cases of a group succeeded, of how many that have to; no verdict before all are measured."""
    allowed = planned // 30 if rows[0]["group"] == "stains" else 0  # 58 of 60
    failed = sum(not succeeded(row) for row in rows)
    state = "**missed**" if failed > allowed else "met" if len(rows) == planned else "no failure so far, incomplete"
    counts = f"{len(rows) - failed} of {len(rows)} measured"
    return f"- {rows[0]['group']}: {counts}; at least {planned - allowed} of {planned}: {state}"


def page(about: dict[str, Any], rows: list[dict[str, Any]], planned: Counter[str]) -> str:
    """Return the page in Markdown; `planned` is the number of cases of each group."""
    facts = [f"- {name}: {value}" for name, value in about.items()]
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    verdicts = [verdict(each, planned[group]) for group, each in groups.items()]
    notes = f"A start succeeds if its mean error is at most {100 * MOST:g} % of the fixed image's longest edge."
    table = [f"| {' | '.join(TITLES)} |", "|" + "---|" * len(TITLES), *map(table_line, groups.values())]
    return "\n".join(["# Initial alignments", "", *facts, "", notes, "", *table, "", *verdicts]) + "\n"
