"""Compare all systems under one budget: `nephi compare-models` on shapes and lung phantoms.

    python benchmarks/family_shapes.py [--sets solid hollow affine lungs] [-o FOLDER]
    python benchmarks/family_shapes.py --sets solid --size 32 --minutes 1 -o /tmp/small    # a trial

The configurations are `benchmarks/family/*.toml`; data and runs are in `benchmarks/work/family/`, where finished models
are kept and interrupted ones continue. Writes `family_SET.md`, `.json` and `.png`. Run it on an idle machine: 20
minutes for each model on shapes, an hour on lungs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import tomli_w
from machine import machine
from shape_set import EDGE

HERE = Path(__file__).parent
WORK = HERE / "work" / "family"
SETS = {"solid": "shapes-solid", "hollow": "shapes-hollow", "affine": "shapes-affine", "lungs": "lungs"}
WRITERS: dict[str, list[str]] = {
    "solid": ["shape_set.py"],
    "hollow": ["shape_set.py", "--hollow"],
    "affine": ["shape_set.py", "--affine"],
    "lungs": ["lung_set.py"],
}
DICE = {"solid": 0.95, "affine": 0.95}  # of every model, or of KeyMorph's affine one on affine pairs
REGULAR = ("gradicon", "constricon", "nephi")
FOLDS = 0.01  # %
BEHIND = 0.01  # Dice of nephi below the best one


def compare(name: str, size: int | None, minutes: float | None) -> Path:
    """Write the data set of a comparison, train and score its models, and return the folder."""
    suffix = "" if size is None else f"-{size}"
    data, config, output = (WORK / f"{SETS[name]}{suffix}{end}" for end in ("", ".toml", "-compared"))
    if not (data / "dataset.json").is_file():
        script, *options = WRITERS[name]
        options += [] if size is None else ["--size", str(size)]
        subprocess.run([sys.executable, HERE / script, data, *options], check=True)
    table = tomllib.loads((HERE / "family" / f"{SETS[name]}.toml").read_text(encoding="utf-8"))
    table["data"]["index"] = str(data)
    if size is not None:
        table["input"] |= {"shape": [size, size], "spacing": [EDGE / size, EDGE / size]}
    if minutes is not None:
        table["budget"]["minutes"] = minutes
    config.write_text(tomli_w.dumps(table))
    command = [sys.executable, "-m", "nephi.cli", "compare-models", config, "-o", output, "--device", "cpu"]
    code = subprocess.run(list(map(str, command)), check=False).returncode
    if code not in (0, 3):  # 3: a model failed, which the table shows
        raise SystemExit(code)
    return output


def verdicts(name: str, rows: list[dict[str, Any]]) -> list[str]:
    """Return a line for each requirement of a set of shapes: met, or missed by which models."""
    scored = {row["name"]: row for row in rows if "dice" in row}
    lines = []
    if limit := DICE.get(name):
        judged = {n: r for n, r in scored.items() if name != "affine" or n == "keymorph-affine"}
        missed = [n for n, r in judged.items() if r["dice"] < limit]
        lines.append(_verdict(f"Dice >= {limit} of {', '.join(judged)}", missed))
    regular = [n for n in REGULAR if n in scored]
    if name in ("solid", "hollow") and regular:
        missed = [n for n in regular if scored[n]["folding_percent"] >= FOLDS]
        lines.append(_verdict(f"folds < {FOLDS} % of {', '.join(regular)}", missed))
    if name in ("solid", "hollow") and "nephi" in scored:
        best = max(row["dice"] for row in scored.values())
        missed = ["nephi"] if scored["nephi"]["dice"] < best - BEHIND else []
        lines.append(_verdict(f"Dice of nephi >= {best:.4f} - {BEHIND}", missed))
        least = min(scored, key=lambda n: scored[n]["training_step_mb"])
        lines.append(_verdict("least memory of a training step: nephi", [] if least == "nephi" else [least]))
    return lines


def _verdict(text: str, missed: list[str]) -> str:
    return f"{text}: {'missed by ' + ', '.join(missed) if missed else 'met'}"


def main() -> None:
    """Run the comparisons and copy their tables and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--size", type=int, metavar="N", help="pixels of an edge of the shapes, for a trial")
    parser.add_argument("--minutes", type=float, help="minutes of each model, for a trial")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    for name in args.sets:
        folder = compare(name, None if name == "lungs" else args.size, args.minutes)
        result = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
        result["about"] |= machine()
        target = args.output / f"family_{name}"
        target.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
        lines = (folder / "comparison.md").read_text(encoding="utf-8").splitlines()
        about = [f"- {key}: {value}" for key, value in machine().items()]
        lines[1:2] = ["", *about, f"- configuration: benchmarks/family/{SETS[name]}.toml"]
        lines += [line for verdict in verdicts(name, result["rows"]) for line in ("", verdict)]
        target.with_suffix(".md").write_text("\n".join([*lines, "", f"![learning curves](family_{name}.png)"]) + "\n")
        if (folder / "curves.png").is_file():
            shutil.copy(folder / "curves.png", target.with_suffix(".png"))


if __name__ == "__main__":
    main()
