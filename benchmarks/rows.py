"""One row of the comparison: a method run on a pair, measured and scored."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

from machine import description
from methods import HERE, PEERS, Method, version
from pairs import Pair
from process import Cost, measure_command

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
SHOWN_ERROR = 300  # last characters of the output of a failed command


def run(method: Method, pair: Pair, args: argparse.Namespace) -> dict[str, Any]:
    """Measure and score one row; of several runs that with the median CPU time counts."""
    row: dict[str, Any] = {"pair": pair.name, "method": method.name, "preset": method.preset}
    row |= {"date": date.today().isoformat(), "machine": description()}
    if method.missing:
        return row | {"error": method.missing}
    shutil.rmtree(args.work / "run", ignore_errors=True)
    folders = [args.work / "run" / str(number) for number in range(args.repeats)]
    costs = [measured_in(folder, method, pair, args) for folder in folders]
    cost, folder = sorted(zip(costs, folders, strict=True), key=lambda each: each[0].cpu_s)[args.repeats // 2]
    row |= {
        "command": command_text(method.command(pair, folder, args.threads, args.limit), args),
        "version": version(method),
    }
    row |= numbers(cost) | {"runs": [numbers(each) for each in costs]}
    errors = [error for cost in costs if (error := error_of(cost, args.limit))]
    if (cut := folder / "out" / "cut.txt").is_file():
        errors.append(
            f"stopped to keep within {args.limit / 60:g} minutes, after {cut.read_text(encoding='utf-8').strip()}"
        )
    if method.field(folder).is_file():
        scores = score_field(method, pair, folder, args.score)
        errors += [scores.pop("error")] if "error" in scores else []
        row |= scores
    if errors:
        row["error"] = "; ".join(dict.fromkeys(errors))
    report = folder / "out" / "report.json"
    if report.is_file():
        row["fit_cpu_s"] = json.loads(report.read_text(encoding="utf-8"))["usage"]["affine_and_fit_cpu_s"]
    return row


def measured_in(folder: Path, method: Method, pair: Pair, args: argparse.Namespace) -> Cost:
    """Run a method once, with all its outputs in `folder`."""
    folder.mkdir(parents=True)
    command = method.command(pair, folder, args.threads, args.limit)
    return measure_command(command, folder / "log", args.limit, thread_variables(args.threads))


def error_of(cost: Cost, limit_s: float) -> str:
    """Return the error of a run; empty if there is none."""
    if cost.timed_out:
        return f"stopped after {limit_s / 60:g} minutes; what is shown is of what it had written"
    return f"failed: {cost.output.strip()[-SHOWN_ERROR:]}" if cost.code else ""


def thread_variables(threads: int) -> dict[str, str]:
    """Return environment variables that set the number of threads of all libraries."""
    return {name: str(threads) for name in THREAD_VARIABLES}


def numbers(cost: Cost) -> dict[str, float]:
    """Return the cost of a process as a row."""
    return {"cpu_s": cost.cpu_s, "wall_s": cost.wall_s, "peak_mb": cost.peak_mb}


def command_text(command: list[str | Path], args: argparse.Namespace) -> str:
    """Return the command line with the folders replaced by DATA and WORK."""
    folders = {args.work: "WORK", args.data: "DATA", HERE: "benchmarks", HERE.parent / ".peers": ".peers"}
    text = " ".join(str(part) for part in command).replace(sys.executable, "python")
    for folder, name in folders.items():
        text = text.replace(str(folder.resolve()), name)
    return text


def score_field(method: Method, pair: Pair, folder: Path, other: Path | None) -> dict[str, Any]:
    """Score a field, also with a second scorer if given; return the scores and the difference between both."""
    field, inverse = method.field(folder), method.inverse(folder)
    command = [sys.executable, HERE / "scoring.py", field, *pair.scorer_options]
    if inverse and inverse.is_file():
        command += ["--inverse", inverse]
    if pair.still_landmarks:
        command += ["--still-landmarks", pair.still_landmarks]
    result = _json_of(command)
    if other:
        second = _json_of([sys.executable, other, field, *pair.scorer_options, "--json"])
        shared = {"tre_mean_mm", "dice_mean", "folding_percent", "sd_log_jacobian"} & result.keys() & second.keys()
        result["gap_to_scorer"] = {key: abs(result[key] - second[key]) for key in sorted(shared)}
    return result


def _json_of(command: list[Any]) -> dict[str, Any]:
    process = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if process.returncode:
        return {"error": f"not scored: {process.stderr.strip()[-SHOWN_ERROR:]}"}
    return json.loads(process.stdout)


def floors(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the imports of every method: the median of three warm runs."""
    methods = {method.name.split()[0]: method for method in (*PEERS, Method("nephi"))}
    rows = []
    for method in methods.values():
        if not method.missing:
            command = [method.python, "-c", method.imports]
            costs = [measure_command(command, args.work / "log", env=thread_variables(args.threads)) for _ in range(4)]
            cost = sorted(costs[1:], key=lambda each: each.cpu_s)[1]  # the first run reads the files from the disk
            rows.append({"method": method.name.split()[0], "command": f'python -c "{method.imports}"'} | numbers(cost))
    return rows[::-1]
