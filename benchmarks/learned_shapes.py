"""Train on triangles and circles and evaluate 500 unseen pairs: neural fields and a displacement U-Net.

    python benchmarks/learned_shapes.py [--rows solid hollow points unet] [-o FOLDER]

Every model is trained with `nephi train` in a separate process, in `benchmarks/work/learned/`; complete runs are not
repeated, interrupted ones continue. `points` trains short runs with decreasing numbers of regularization points,
`unet` a displacement U-Net for at least as many minutes as the model of nephi. Minutes are wall time. Writes
`learned_shapes.md`, `.json`, and `learned_points.png`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w
from machine import machine

HERE = Path(__file__).parent
WORK = HERE / "work" / "learned"
CONFIG = HERE / "training" / "shapes.toml"
REGULAR_POINTS = (4096, 1024, 256, 64, 16)  # from a quarter of the pixels
COLUMNS = {
    "dice": "Dice",
    "dice_worst_percent": "worst 1 %",
    "folding_percent": "J <= 0, %",
    "steps": "steps",
    "minutes": "minutes, one core",
    "parameters": "parameters",
}
HOLLOW_STEPS = 2500
ROWS = ("solid", "hollow", "points", "unet")
UNET = {"model": {"kind": "unet"}, "objective": {"points": 1500}}  # with its own default weights
LIMITS = {"solid": 0.98, "hollow": 0.90}


@dataclass(frozen=True)
class Row:
    """One model to train: its name, its data, changes of the configuration, and tables that replace its own."""

    name: str
    data: str
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    replaced: dict[str, dict[str, Any]] = field(default_factory=dict)


def rows(names: list[str]) -> Iterator[Row]:
    """Return the models to train."""
    if "solid" in names:
        yield Row("solid, nephi", "solid")
    if "hollow" in names:
        yield Row("hollow, nephi", "hollow", {"optimization": {"steps": HOLLOW_STEPS}})
    for points in REGULAR_POINTS if "points" in names else ():
        changes = {"objective": {"background_points": points}, "optimization": {"steps": 500}}
        yield Row(f"solid, {points} points", "solid", changes)
    # As many minutes as the model of nephi, measured: a step of the U-Net evaluates all pixels.
    for data, steps in (("solid", 3700), ("hollow", 2000)) if "unet" in names else ():
        yield Row(f"{data}, U-Net", data, {"optimization": {"steps": steps}}, UNET)


def train_and_score(row: Row) -> dict[str, Any]:
    """Train a model, unless it exists, and return its scores."""
    data = WORK / row.data
    if not (data / "dataset.json").is_file():
        hollow = ["--hollow"] if row.data == "hollow" else []
        _run([HERE / "shape_set.py", data, *hollow])
    run = WORK / "runs" / row.name.replace(", ", "-").replace(" ", "-")
    config = run.with_suffix(".toml")
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(tomli_w.dumps(_configuration(row, data)))
    _run(["-m", "nephi.cli", "train", config, "-o", run, *(["--resume"] if run.exists() else []), "-q"])
    scores: dict[str, Any] = json.loads(_run([HERE / "shape_scores.py", run, data], keep=True))
    if "objective" in row.changes:
        scores["background_points"] = row.changes["objective"]["background_points"]
    return {"name": row.name, **scores, "command": f"nephi train {config.name} -o {run.name}"}


def _configuration(row: Row, data: Path) -> dict[str, Any]:
    table = tomllib.loads(CONFIG.read_text(encoding="utf-8"))
    table["data"]["index"] = str(data)
    table |= row.replaced
    for name, values in row.changes.items():
        table[name] |= values
    return table


def _run(words: list[Any], keep: bool = False) -> str:
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE if keep else None).stdout or ""


def page(about: dict[str, Any], scores: list[dict[str, Any]]) -> str:
    """Return the results in Markdown."""
    lines = [
        "# Triangles and circles: trained models",
        "",
        *(f"- {name}: {value}" for name, value in about.items()),
        "",
    ]
    lines += [" ".join(__doc__.split("\n\n")[2].split()), ""]
    lines += [f"| model | {' | '.join(COLUMNS.values())} |", "|" + "---|" * (len(COLUMNS) + 1)]
    lines += [f"| {row['name']} | {' | '.join(_cell(row.get(key)) for key in COLUMNS)} |" for row in scores]
    for data, limit in LIMITS.items():
        for row in scores:
            if row["name"] == f"{data}, nephi":
                is_met = row["dice"] >= limit and row["folding_percent"] < 0.01 and row["minutes"] <= 20
                lines += ["", f"{data}: Dice >= {limit}, folds < 0.01 %, 20 minutes: {'met' if is_met else 'missed'}"]
    return "\n".join(lines) + "\n"


def curve(scores: list[dict[str, Any]], path: Path) -> None:
    """Plot Dice and folds against the number of regularization points."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
    points = [row["background_points"] for row in scores]
    for axis, key, title, limits in (
        (left, "dice", "Dice", (0.95, 0.98)),
        (right, "folding_percent", "pixels that fold, %", (0.0, 0.01)),
    ):
        axis.plot(points, [row[key] for row in scores], "o-")
        axis.set_xscale("log")
        axis.set_xticks(points, map(str, points))
        axis.minorticks_off()
        values = [row[key] for row in scores]
        axis.set_ylim(min(limits[0], *values), max(limits[1], *values))
        axis.set_xlabel("regularization points (16,384 pixels)")
        axis.set_title(title)
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def main() -> None:
    """Train, evaluate and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results")
    args = parser.parse_args()
    scores = []
    for row in rows(args.rows):
        scores.append(train_and_score(row))
        print(json.dumps(scores[-1]), flush=True)
        args.output.mkdir(parents=True, exist_ok=True)
        about = machine()
        (args.output / "learned_shapes.json").write_text(json.dumps({"about": about, "rows": scores}, indent=2) + "\n")
        (args.output / "learned_shapes.md").write_text(page(about, scores))
    if "points" in args.rows:
        curve([row for row in scores if "background_points" in row], args.output / "learned_points.png")


if __name__ == "__main__":
    main()
