"""Compare nephi with other tools: error, regularity, time and memory on the same pairs and machine.

    python benchmarks/compare.py DATA [--only PAIR,PAIR] [--methods nephi,greedy] [--repeats 3] [--fresh]

DATA contains `lung_ct/`, `brain_mri/` and `liver_mr/`; phantoms are generated first. Every row is a separate process
from image files to a displacement field; rows run one at a time with the same number of threads, and `scoring.py`
evaluates all fields. Rows are stored in the work folder: an interrupted run continues, `--fresh` measures the selected
rows again, and `--methods none` only rewrites the results. `--repeats` runs each row several times; the run with the
median CPU time counts, and all are stored. `python benchmarks/peers/install.py` installs the other tools; the B-spline
fit needs only torch. Writes `comparison.md`, `comparison.json` and `comparison.png` (which needs matplotlib).
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from machine import machine
from methods import DEFAULT_PRESET, FIELD_ALONE, HERE, PAPER_PRESETS, PEERS, Method, known_presets, nephi_methods
from page import page
from pairs import Pair, all_pairs
from rows import floors, run

LIMIT_S = 30 * 60
USUAL_PRESETS = (DEFAULT_PRESET, FIELD_ALONE, "fast", "best")


def load_row(path: Path, is_wanted: bool, fresh: bool) -> dict[str, Any] | None:
    """Load a stored row; None if it is to be measured: with `fresh`, or if its tool was not installed before."""
    if not path.is_file() or (is_wanted and fresh):
        return None
    row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return None if is_wanted and "cpu_s" not in row else row


def select_rows(pairs: list[Pair], args: argparse.Namespace) -> list[tuple[Pair, Method, bool]]:
    """Return every pair with every method, and whether this run measures it."""
    known = known_presets()
    if unknown := set(args.only) - {pair.name for pair in pairs}:
        sys.exit(f"no such pair: {', '.join(sorted(unknown))}; there are {', '.join(pair.name for pair in pairs)}")
    result = []
    for pair in pairs:
        current_names = [method.name for method in nephi_methods(pair, args.presets, known)]
        presets = dict.fromkeys([*args.presets, *USUAL_PRESETS, *PAPER_PRESETS])  # stored rows are shown, too
        for method in (*nephi_methods(pair, presets, known), *PEERS):
            is_selected = pair.name in (args.only or [pair.name]) and starts_with_any(method, args.methods)
            result.append((pair, method, is_selected and (method in PEERS or method.name in current_names)))
    names = dict.fromkeys(method.name for _, method, _ in result)
    for start in args.methods:
        if start != "none" and not any(name.lower().startswith(start.lower()) for name in names):
            sys.exit(f"no such method: {start}; there are {', '.join(names)}; or none")
    return result


def starts_with_any(method: Method, starts: list[str]) -> bool:
    """Return whether the name of a method starts with one of `starts`, ignoring case; True without any."""
    return not starts or method.name.lower().startswith(tuple(start.lower() for start in starts))


def prepare_pair(pair: Pair, args: argparse.Namespace) -> None:
    """Generate the missing files of a pair."""
    if not all(path.is_file() for path in pair.files):
        command = [sys.executable, HERE / "pairs.py", pair.name, pair.moving.parent, args.data]
        subprocess.run([str(part) for part in command], check=True)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = {"type": lambda text: [part for part in text.split(",") if part], "metavar": "A,B"}
    parser.add_argument("data", type=lambda text: Path(text).resolve())
    presets = "of nephi; default fits the pair, and field writes the field alone; those of papers take long"
    parser.add_argument("--presets", default=[*USUAL_PRESETS], **names, help=presets)
    parser.add_argument("--only", default=[], **names, help="measure these pairs")
    parser.add_argument("--methods", default=[], **names, help="measure methods whose names begin so, in any case")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured before")
    parser.add_argument("--score", type=Path, help="a second scorer, to check ours")
    parser.add_argument("--threads", type=int, default=1, help="for every method")
    parser.add_argument("--repeats", type=int, choices=range(1, 10), default=1, metavar="N", help="runs of a row")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds a row")
    parser.add_argument("--work", type=lambda text: Path(text).resolve(), default=HERE / "work")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results")
    return parser.parse_args()


def main() -> None:
    """Measure the missing rows, then write the results."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # to end a row in progress together with this process
    args = arguments()
    rows = []
    (args.work / "rows").mkdir(parents=True, exist_ok=True)
    for pair, method, is_wanted in select_rows(all_pairs(args.data, args.work / "pairs"), args):
        path = args.work / "rows" / f"{pair.name}-{method.name.replace(' ', '_')}.json"
        row = load_row(path, is_wanted, args.fresh)
        if row is None and is_wanted:
            prepare_pair(pair, args)
            row = run(method, pair, args) | {"run_by": machine()["command"]}
            path.write_text(json.dumps(row, indent=1) + "\n")
            print(json.dumps({k: v for k, v in row.items() if k not in ("errors_mm", "command", "run_by")}), flush=True)
        if row is None and method in PEERS:
            row = {"pair": pair.name, "method": method.name, "preset": "", "error": "not measured yet"}
        if row is not None:
            rows.append(row)
    about = machine() | {"threads": args.threads, "floors": floors(args)}
    args.output.mkdir(parents=True, exist_ok=True)
    result = args.output / "comparison.json"
    result.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    (args.output / "comparison.md").write_text(page(about, rows))
    subprocess.run([sys.executable, HERE / "picture.py", result, result.with_suffix(".png")], check=False)


if __name__ == "__main__":
    main()
