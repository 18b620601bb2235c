"""Compare nephi with its peers, side by side: error, regularity, time and memory on the same pairs and machine.

    python benchmarks/compare.py DATA [--only PAIR,PAIR] [--methods nephi,greedy] [--repeats 3] [--fresh]

DATA holds `lung_ct/` and `brain_mri/`; phantoms are made first. Every row is a process of its own, from files to a
displacement field, one at a time, with the same number of threads; `scoring.py` judges all fields. Rows are kept in
the work folder: a run that stopped goes on where it was, `--fresh` measures the chosen rows again, and `--methods none`
only writes the results anew. Of a row that `--repeats` runs several times the one with the middle CPU time counts, and
all are kept. Peers are installed by `python benchmarks/peers/install.py`. Writes `comparison.md`, `comparison.json` and
`comparison.png` (the picture needs matplotlib).
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


def kept(path: Path, wanted: bool, fresh: bool) -> dict[str, Any] | None:
    """Return a row measured before. One that is wanted is tried again if its peer was not installed, or if `fresh`."""
    if not path.is_file() or (wanted and fresh):
        return None
    row: dict[str, Any] = json.loads(path.read_text())
    return None if wanted and "cpu_s" not in row else row


def selected(pairs: list[Pair], args: argparse.Namespace) -> list[tuple[Pair, Method, bool]]:
    """Return every pair with every method, and whether this run is to measure it."""
    known = known_presets()
    if strangers := set(args.only) - {pair.name for pair in pairs}:
        sys.exit(f"no such pair: {', '.join(sorted(strangers))}; there are {', '.join(pair.name for pair in pairs)}")
    result = []
    for pair in pairs:
        now = [method.name for method in nephi_methods(pair, args.presets, known)]
        shown = dict.fromkeys([*args.presets, *USUAL_PRESETS, *PAPER_PRESETS])  # rows kept are shown, too
        for method in (*nephi_methods(pair, shown, known), *PEERS):
            asked = pair.name in (args.only or [pair.name]) and begins_so(method, args.methods)
            result.append((pair, method, asked and (method in PEERS or method.name in now)))
    names = dict.fromkeys(method.name for _, method, _ in result)
    for start in args.methods:
        if start != "none" and not any(name.lower().startswith(start.lower()) for name in names):
            sys.exit(f"no such method: {start}; there are {', '.join(names)}; or none")
    return result


def begins_so(method: Method, starts: list[str]) -> bool:
    """Tell whether a method's name begins in one of these ways, in any case; without any, all do."""
    return not starts or method.name.lower().startswith(tuple(start.lower() for start in starts))


def prepared(pair: Pair, args: argparse.Namespace) -> None:
    """Make the files of a pair that are not there yet."""
    if not all(path.is_file() for path in pair.files):
        command = [sys.executable, HERE / "pairs.py", pair.name, pair.moving.parent, args.data]
        subprocess.run([str(part) for part in command], check=True)


def arguments() -> argparse.Namespace:
    """Read the command line."""
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
    """Measure what is missing, then write the results."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a row in progress is ended with us
    args = arguments()
    rows = []
    (args.work / "rows").mkdir(parents=True, exist_ok=True)
    for pair, method, wanted in selected(all_pairs(args.data, args.work / "pairs"), args):
        path = args.work / "rows" / f"{pair.name}-{method.name.replace(' ', '_')}.json"
        row = kept(path, wanted, args.fresh)
        if row is None and wanted:
            prepared(pair, args)
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
