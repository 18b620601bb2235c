"""Measure cost against image size: `lung_ct` resampled to more voxels, registered with nephi and greedy.

    python benchmarks/sizes.py DATA [--sizes 128,256,384,512] [--methods nephi,greedy] [--repeats 3] [--fresh]

Both images and masks are resampled to a cube of voxels in the same box: linear and int16, masks by nearest neighbour,
uncompressed. Every row is a separate process from files to a displacement field; rows run one at a time, with a time
limit (`--limit`, seconds) and a limit of the address space (`--memory`, GB). Landmarks score the fields. Rows are
stored in the work folder: an interrupted run continues, `--fresh` measures the selected rows again. `--repeats` runs
each row several times; the run with the median time of affine and fit counts (for greedy: of the process). `python
benchmarks/peers/install.py greedy` installs greedy. Writes `sizes.md`, `sizes.json` and, with matplotlib, `sizes.png`.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from compare import LIMIT_S, load_row
from machine import machine
from methods import DEFAULT_PRESET, GREEDY, HERE, Method, known_presets, nephi_methods, version
from pairs import Pair, all_pairs
from process import measure_command
from rows import SHOWN_ERROR, command_text, numbers, thread_variables
from sizes_page import COLUMNS, FLOOR, SIZES, page


def lung_ct(args: argparse.Namespace) -> Pair:
    """Return the pair that is resampled to all sizes."""
    return next(pair for pair in all_pairs(args.data, args.work) if pair.name == "lung_ct")


def methods(pair: Pair) -> list[Method]:
    """Return nephi with the preset of the pair, and greedy."""
    return [*nephi_methods(pair, [DEFAULT_PRESET], known_presets()), GREEDY]


def resampled(pair: Pair, size: int, folder: Path) -> Pair:
    """Return the pair at one size; missing files are written in `folder`."""
    volumes = ("fixed", "moving", "fixed_mask", "moving_mask")
    result = replace(pair, name=folder.name, **{name: folder / f"{name}.mha" for name in volumes})
    if not all(path.is_file() for path in result.files):
        volumes_py("resample", size, pair.fixed.parent, folder)
    return result


def volumes_py(*words: Any) -> str:
    """Run `volumes.py` and return its output."""
    command = [sys.executable, HERE / "volumes.py", *words]
    process = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"volumes.py {words[0]} failed: {process.stderr.strip()[-SHOWN_ERROR:]}")
    return process.stdout


def run(method: Method, pair: Pair, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Measure and score one method on one pair; a failed run has its cost until the failure."""
    command = method.command(pair, folder, 1)
    cost = measure_command(command, folder / "log", args.limit, thread_variables(1))
    row = {"command": command_text(command, args), "version": version(method)} | numbers(cost)
    if cost.timed_out:
        return row | {"error": f"stopped after {args.limit / 60:g} minutes"}
    if cost.code:
        return row | {"error": f"failed with {cost.code}: {cost.output.strip()[-SHOWN_ERROR:]}"}
    report = folder / "out" / "report.json"
    if report.is_file():
        usage = json.loads(report.read_text(encoding="utf-8"))["usage"]
        row |= {"fit_cpu_s": usage["affine_and_fit_cpu_s"], "stages": usage["stages"]}
    return row | json.loads(volumes_py("score", method.field(folder), pair.landmarks))


def sized_row(method: Method, size: int, args: argparse.Namespace) -> dict[str, Any]:
    """Return the row of a method at one size, measured in a temporary folder (gigabytes at 512 cubed)."""
    row = {"method": method.name, "size": size, "voxels": size**3, "date": date.today().isoformat()}
    if method.missing:
        return row | {"error": method.missing}
    pair, folder = resampled(lung_ct(args), size, args.work / "pairs" / f"lung_ct_{size}"), args.work / "run"
    rows = []
    for _ in range(args.repeats):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            rows.append(run(method, pair, folder, args))
        finally:
            shutil.rmtree(folder)
    key = "fit_cpu_s" if all("fit_cpu_s" in each for each in rows) else "cpu_s"
    middle = sorted(rows, key=lambda each: each[key])[len(rows) // 2]
    return row | middle | {"runs": [{name: each[name] for name in COLUMNS if name in each} for each in rows]}


def floor(method: Method, args: argparse.Namespace) -> dict[str, Any]:
    """Measure a process that only runs the imports of a method."""
    cost = measure_command([method.python, "-c", method.imports], args.work / "log")
    return {"method": method.name, "size": FLOOR} | numbers(cost)


def measured_rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the missing rows; return all rows, including stored ones of other sizes and methods."""
    folder, rows = args.work / "rows", []
    folder.mkdir(parents=True, exist_ok=True)
    for method in methods(lung_ct(args)):
        if not method.missing:
            rows.append(floor(method, args))
        for size in sorted({*SIZES, *args.sizes}):
            path = folder / f"{method.name}-{size}.json"
            is_selected = size in args.sizes and method.name in args.methods
            row = load_row(path, is_selected, args.fresh)
            if row is None and is_selected:
                row = sized_row(method, size, args)
                path.write_text(json.dumps(row, indent=1) + "\n")
                print(json.dumps({k: v for k, v in row.items() if k not in ("errors_mm", "command")}), flush=True)
            rows.append(row or {"method": method.name, "size": size, "voxels": size**3, "error": "not measured yet"})
    return rows


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"metavar": "A,B"}
    parser.add_argument("data", type=lambda text: Path(text).resolve())
    parser.add_argument("--sizes", type=lambda text: [int(part) for part in text.split(",")], default=SIZES, **parts)
    parser.add_argument("--methods", type=lambda text: text.split(","), default=["nephi", "greedy"], **parts)
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured before")
    parser.add_argument("--repeats", type=int, choices=range(1, 10), default=1, metavar="N", help="runs of a row")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds a row")
    parser.add_argument("--memory", type=float, default=18, help="GB of address space a process")
    parser.add_argument("--work", type=lambda text: Path(text).resolve(), default=HERE / "work" / "sizes")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results")
    return parser.parse_args()


def main() -> None:
    """Measure the missing rows, then write the results."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # to end a row in progress together with this process
    args = arguments()
    limit_bytes = int(args.memory * 1e9)
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))  # inherited by the measured processes
    rows = measured_rows(args)
    days = ", ".join(sorted({row["date"] for row in rows if "date" in row}))
    about = machine() | {"rows measured on": days}
    args.output.mkdir(parents=True, exist_ok=True)
    result = args.output / "sizes.json"
    result.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    result.with_suffix(".md").write_text(page(about, rows))
    subprocess.run([sys.executable, HERE / "curves.py", result, result.with_suffix(".png")], check=False)
    print(page(about, rows))


if __name__ == "__main__":
    main()
