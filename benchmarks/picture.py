"""Plot error against CPU time, one panel per pair.

python benchmarks/picture.py comparison.json comparison.png     # with matplotlib
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter
from methods import FIELD_ALONE, PAPER_PRESETS
from verdicts import error

COLUMNS = 3
COLOURS = {"nephi": "#c1272d", "elastix": "#1f77b4", "greedy": "#2ca02c", "ConvexAdam": "#9467bd"}
COLOURS |= {"ANTs": "#8c564b", "FireANTs": "#7f7f7f", "B-splines": "#17becf"}
# Label positions of methods whose points are often next to another one: offset in points, and horizontal alignment.
PLACES = {f"nephi {FIELD_ALONE}": ((5, -10), "left"), "elastix 250": ((-3, -10), "right")}
PLACES["greedy single"] = ((-5, 4), "right")


def panel(axes: Axes, name: str, rows: list[dict[str, Any]], machine: str) -> None:
    """Plot one pair: a labelled point per method (a cross: other machine), a line through the presets of nephi."""
    rows = [row for row in rows if error(row) is not None and "cpu_s" in row]
    for row in rows:
        colour = COLOURS.get(row["method"].split()[0], "black")
        face = "none" if "error" in row else colour  # hollow: stopped, or failed after writing the field
        mark = "o" if row.get("machine", machine) == machine else "x"
        axes.plot(row["cpu_s"], error(row), mark, color=colour, markerfacecolor=face, markersize=6)
        place, side = PLACES.get(row["method"], ((5, 4), "left"))
        axes.annotate(row["method"], (row["cpu_s"], error(row)), place, textcoords="offset points", fontsize=7, ha=side)
    nephi_rows = [row for row in rows if row["method"].startswith("nephi") and row.get("preset") not in PAPER_PRESETS]
    nephi_rows = [row for row in nephi_rows if row["method"] != f"nephi {FIELD_ALONE}"]  # the same result, less time
    nephi_rows.sort(key=lambda row: row["cpu_s"])
    axes.plot([row["cpu_s"] for row in nephi_rows], [error(row) for row in nephi_rows], "-", color=COLOURS["nephi"])
    labels = any("dice_mean" in row for row in rows)
    axes.set(title=name, xscale="log", xlabel="CPU seconds", ylabel="1 - Dice" if labels else "mean TRE, mm")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.25, y=0.15)
    axes.grid(True, which="both", linewidth=0.3)


def main() -> None:
    """Read the results and write the figure."""
    results = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    rows, machine = results["rows"], results["about"]["machine"]
    names = list(dict.fromkeys(row["pair"] for row in rows))
    count = max(1, math.ceil(len(names) / COLUMNS))
    figure, grid = plt.subplots(count, COLUMNS, figsize=(5 * COLUMNS, 3.8 * count), squeeze=False, layout="constrained")
    for axes, name in zip(grid.flat, names, strict=False):
        panel(axes, name, [row for row in rows if row["pair"] == name], machine)
    for axes in list(grid.flat)[len(names) :]:
        axes.set_visible(False)
    figure.savefig(sys.argv[2], dpi=110)


if __name__ == "__main__":
    main()
