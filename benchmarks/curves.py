"""Draw memory and CPU time against the number of voxels.

python benchmarks/curves.py sizes.json sizes.png     # with matplotlib
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator
from picture import COLOURS
from sizes_page import COLUMNS, FLOOR

STYLES = {"peak_mb": "o-", "cpu_s": "o-", "fit_cpu_s": "s--"}
PANELS = {"memory": ("peak_mb",), "time": ("cpu_s", "fit_cpu_s")}


def curves(axes: Axes, key: str, rows: list[dict[str, Any]]) -> None:
    """Plot one cost: a curve per method, and a dotted line at the cost of its imports."""
    for method in dict.fromkeys(row["method"] for row in rows):
        rows_of_method = [row for row in rows if row["method"] == method and key in row]
        sized = [row for row in rows_of_method if "tre_mean_mm" in row]  # the cost of a failed run is not meaningful
        voxels, costs = [row["voxels"] for row in sized], [row[key] for row in sized]
        if sized:
            axes.plot(voxels, costs, STYLES[key], color=COLOURS[method], label=f"{method}, {COLUMNS[key]}")
        for row in rows_of_method:
            if row["size"] == FLOOR:
                axes.axhline(row[key], color=COLOURS[method], linestyle=":", label=f"{method}, {FLOOR}")


def main() -> None:
    """Read the results and write the figure."""
    rows = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["rows"]
    sizes = sorted({row["size"] for row in rows if row["size"] != FLOOR})
    figure, panels = plt.subplots(1, len(PANELS), figsize=(11, 4.4), layout="constrained")
    for axes, (name, keys) in zip(panels, PANELS.items(), strict=True):
        for key in keys:
            curves(axes, key, rows)
        axes.set(title=name, xscale="log", yscale="log", xlabel="voxels", ylabel="MB" if name == "memory" else "CPU s")
        axes.set_xticks([size**3 for size in sizes], [f"{size}³" for size in sizes])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.grid(True, linewidth=0.3)
        axes.legend(fontsize=7)
    figure.savefig(sys.argv[2], dpi=110)


if __name__ == "__main__":
    main()
