"""Measure what several threads gain: pairs registered with each number of threads in turn, several rounds.

    python benchmarks/threads.py DATA [--pairs lung_ct,brain_mri] [--threads 1,2] [--rounds 5] [--work FOLDER]

DATA contains `lung_ct` and `brain_mri`. Each run is a process of its own, from files to all outputs, with the preset of
the pair; wall and CPU seconds of the stages are those of `usage` in its report.json, those of `process` are measured
from outside. Medians over the rounds count. The cores must be idle: a round takes every pair with every number of
threads, so that a slow period concerns all of them, and the spread of the rounds is shown. Files of all runs of a pair
are compared. Writes `threads.md` and `threads.json` in `--results`, with a verdict for each target.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path
from statistics import median
from typing import Any

from machine import machine
from methods import DEFAULT_PRESET, HERE, known_presets, nephi_methods
from pairs import Pair, all_pairs
from process import measure_command

STAGES = ("prepare", "affine", "fit", "export", "process")
FILES = ("warp.nii.gz", "inverse_warp.nii.gz", "warped.nii.gz")
# Largest ratio to one thread, with two: of the wall time of stages, and of the CPU time of the process.
TARGETS = {("fit", "wall_s"): 0.6, ("export", "wall_s"): 0.55, ("process", "cpu_s"): 1.1}

Run = dict[str, Any]


def run(pair: Pair, threads: int, folder: Path) -> Run:
    """Register a pair; return wall and CPU seconds of all stages, and a digest of the result's files."""
    preset = nephi_methods(pair, [DEFAULT_PRESET], known_presets())[0]
    command = preset.command(pair, folder, threads)
    folder.mkdir(parents=True, exist_ok=True)
    cost = measure_command(command, folder / "log")
    if cost.code:
        sys.exit(f"{pair.name} with {threads} threads: exit code {cost.code}\n{cost.output[-1000:]}")
    report = json.loads((folder / "out" / "report.json").read_text(encoding="utf-8"))
    stages = report["usage"]["stages"] | {"process": {"wall_s": cost.wall_s, "cpu_s": cost.cpu_s}}
    digest = hashlib.sha256()
    for path in (folder / "out" / name for name in FILES):
        digest.update(path.read_bytes() if path.is_file() else b"")
    return {"pair": pair.name, "threads": threads, "stages": stages, "files": digest.hexdigest(), "mb": cost.peak_mb}


def values(runs: list[Run], pair: str, threads: int, stage: str, unit: str) -> list[float]:
    """Return one number per round."""
    chosen = (r for r in runs if r["pair"] == pair and r["threads"] == threads)
    return [r["stages"][stage][unit] for r in chosen]


def table(runs: list[Run], pair: str, counts: list[int]) -> list[str]:
    """Return the rows of one pair: medians, and the range of the rounds."""
    lines = [
        f"## {pair}",
        "",
        "| threads | " + " | ".join(f"{s}, wall s | {s}, CPU s" for s in STAGES) + " | peak MB |",
        "|" + "---|" * (2 * len(STAGES) + 2),
    ]
    for threads in counts:
        cells = []
        for stage in STAGES:
            for unit in ("wall_s", "cpu_s"):
                numbers = values(runs, pair, threads, stage, unit)
                cells.append(f"{median(numbers):.2f} ({min(numbers):.2f} to {max(numbers):.2f})")
        memory = median(r["mb"] for r in runs if r["pair"] == pair and r["threads"] == threads)
        lines.append(f"| {threads} | " + " | ".join(cells) + f" | {memory:.0f} |")
    return [*lines, ""]


def verdicts(runs: list[Run], pair: str, counts: list[int]) -> list[str]:
    """Return a line for each target, and one for the files."""
    lines = []
    for (stage, unit), limit in TARGETS.items() if {1, 2} <= set(counts) else ():
        one, two = (median(values(runs, pair, threads, stage, unit)) for threads in (1, 2))
        verdict = "met" if two <= limit * one else "not met"
        kind = "wall" if unit == "wall_s" else "CPU"
        lines.append(f"* {stage}, {kind} time with 2 threads: {two / one:.3f} of 1 thread (at most {limit}): {verdict}")
    equal = len({r["files"] for r in runs if r["pair"] == pair}) == 1
    lines.append(f"* fields and warped image are {'the same bytes' if equal else 'DIFFERENT'} in all runs")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pairs", default="lung_ct,brain_mri")
    parser.add_argument("--threads", default="1,2", help="numbers of threads")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("build/threads"))
    parser.add_argument("--results", type=Path, default=HERE / "results")
    args = parser.parse_args()
    counts = [int(word) for word in args.threads.split(",")]
    known = {pair.name: pair for pair in all_pairs(args.data, args.work)}
    pairs = [known[name] for name in args.pairs.split(",")]
    runs: list[Run] = []
    for round_number in range(1, args.rounds + 1):
        for pair in pairs:
            for threads in counts:
                print(
                    f"round {round_number}: {pair.name}, {threads} threads, load {os.getloadavg()[0]:.1f}", flush=True
                )
                runs.append(run(pair, threads, args.work / f"{pair.name}_{threads}"))
    about = machine()
    lines = ["# Several threads", "", *(f"- {name}: {value}" for name, value in about.items())]
    lines += [f"- rounds: {args.rounds}; medians (smallest to largest)", ""]
    for pair in pairs:
        lines += [*table(runs, pair.name, counts), *verdicts(runs, pair.name, counts)]
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "threads.md").write_text("\n".join(lines), encoding="utf-8")
    (args.results / "threads.json").write_text(json.dumps({"about": about, "runs": runs}, indent=1), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
