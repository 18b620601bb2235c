"""Move the header of the moving image at random and register: does every run still arrive?

    python benchmarks/robustness.py DATA [--motions 20] [--only PAIR,PAIR] [--preset lung-ct] [--jobs 2] [--fresh]

On `lung_ct` and the 25 mm lung phantoms, seeded random rigid motions carry the moving image, its mask and its
landmarks along. They act about the centre of the moving image: an axis uniform on the sphere, an angle uniform up to
40 degrees, a shift of uniform direction and of a length uniform up to 60 mm. Only origin and direction change, nothing
is resampled; a seed is the same motion for every pair. Each is registered once with both masks and once with no mask
given. The 60 mm phantoms are registered as they are, with masks. Every mean TRE is to stay below 2 mm.

The runs call `nephi.register` on images in memory, many in one process: starting up and exporting dense fields, which
the other benchmarks measure, would double the cost and show nothing here. Rows are kept in the work folder: a run that
stopped goes on where it was, `--fresh` measures the chosen pairs again. Writes `robustness.md` and `robustness.json`.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import time
from dataclasses import asdict, dataclass
from datetime import date
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from compare import kept, prepared
from machine import machine
from methods import HERE
from motions import MAX_ANGLE, MAX_SHIFT, STILL, Motion
from pairs import LUNG_PHANTOMS, Pair, all_pairs

import nephi

LIMIT = 2.0  # mm
MOVED = ("lung_ct", *(name for name, (_, motion) in LUNG_PHANTOMS.items() if motion == 25))
AS_THEY_ARE = tuple(name for name, (_, motion) in LUNG_PHANTOMS.items() if motion == 60)
MOVING_PARTS = ("moving", "moving_mask")
PARTS = ("fixed", "fixed_mask", *MOVING_PARTS)
TITLES = ("pair", "masks", "runs", "worst mean TRE, mm", "median", f"{LIMIT:g} mm or more", "CPU s", "the worst run")
NOTES = f"""
The moving image's header, mask and landmarks are moved rigidly about the centre of that image: axis uniform on the
sphere, angle uniform up to {MAX_ANGLE:g} degrees, shift of uniform direction and of a length
uniform up to {MAX_SHIFT:g} mm. The 60 mm phantoms are left as they are. CPU s is the sum over the runs
of a line, of the registration alone: nothing is exported.
"""


@dataclass(frozen=True)
class Run:
    """One registration: a pair, whether its masks are given, and the seed of the motion (None: it stays)."""

    pair: Pair
    masks: bool
    seed: int | None
    preset: str

    @property
    def name(self) -> str:
        """What the run is called, on the screen and in the work folder."""
        motion = "as_it_is" if self.seed is None else f"motion_{self.seed:02d}"
        return "-".join([self.pair.name, "masks" if self.masks else "no_masks", motion, self.preset])

    def measure(self) -> dict[str, Any]:
        """Register the moved pair; return the motion, the errors and the CPU time."""
        motion = STILL if self.seed is None else Motion.random(self.seed)
        row = {"pair": self.pair.name, "masks": self.masks, "seed": self.seed, "motion": asdict(motion)}
        row |= {"preset": self.preset, "date": date.today().isoformat()}
        given, landmarks = moved(self.pair, motion)
        if not self.masks:
            del given["fixed_mask"], given["moving_mask"]
        start = time.process_time()
        try:
            transform = nephi.register(**given, preset=self.preset, device="cpu").transform
        except nephi.NephiError as failure:
            return row | {"cpu_s": time.process_time() - start, "error": str(failure)}
        row["cpu_s"] = time.process_time() - start
        tre = nephi.landmark_errors(transform, landmarks).summary()
        return row | {"tre_before_mm": tre["before"], "tre_mean_mm": tre["mean"], "tre_max_mm": tre["max"]}


def moved(pair: Pair, motion: Motion) -> tuple[dict[str, nephi.Image], nephi.PointPairs]:
    """Return images and masks, named as `nephi.register` names them, and landmarks, the moving side carried along."""
    given, landmarks = loaded(pair)
    matrix = motion.about(given["moving"].grid.centre_world())
    carried = {part: given[part].with_grid(given[part].grid.transformed(matrix)) for part in MOVING_PARTS}
    there = landmarks.moving.mapped(nephi.AffineTransform(matrix))
    return given | carried, nephi.PointPairs(landmarks.fixed, there)


@lru_cache(maxsize=1)  # runs of one pair follow each other
def loaded(pair: Pair) -> tuple[dict[str, nephi.Image], nephi.PointPairs]:
    """Read images, masks and landmarks of a pair."""
    return {part: nephi.read_image(getattr(pair, part)) for part in PARTS}, nephi.read_point_pairs(pair.landmarks)


def runs(args: argparse.Namespace) -> list[Run]:
    """Return every run, wanted now or not."""
    pairs = {pair.name: pair for pair in all_pairs(args.data, args.work / "pairs")}
    ways = [(name, masks, seed) for name in MOVED for masks in (True, False) for seed in range(args.motions)]
    ways += [(name, True, None) for name in AS_THEY_ARE]
    return [Run(pairs[name], masks, seed, args.preset) for name, masks, seed in ways]


def measured_rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure what is missing, `args.jobs` runs at a time; return the rows of all runs measured so far."""
    folder = args.work / "robustness"
    folder.mkdir(parents=True, exist_ok=True)
    paths = {run: folder / f"{run.name}.json" for run in runs(args)}
    wanted = [run for run in paths if run.pair.name in (args.only or [run.pair.name])]
    rows = {run: kept(path, run in wanted, args.fresh) for run, path in paths.items()}
    missing = [run for run in wanted if rows[run] is None]
    for pair in dict.fromkeys(run.pair for run in missing):
        prepared(pair, args)
    with get_context("spawn").Pool(args.jobs) as pool:  # leaving it ends the runs in progress
        for run, row in zip(missing, pool.imap(Run.measure, missing), strict=True):
            rows[run] = row
            paths[run].write_text(json.dumps(row, indent=1) + "\n")
            print(f"{run.name}: {outcome(row)}, {row['cpu_s']:.1f} CPU s ({shown(row)})", flush=True)
    return [row for row in rows.values() if row]


def error(row: dict[str, Any]) -> float:
    """Return the mean TRE in mm; infinite where the registration gave up."""
    return row.get("tre_mean_mm", math.inf)


def outcome(row: dict[str, Any]) -> str:
    """Say where a run ended, or why it did not."""
    return row.get("error") or f"{error(row):.3f} mm"


def shown(row: dict[str, Any]) -> str:
    """Say which motion a run began with."""
    return "as it is" if row["seed"] is None else f"seed {row['seed']}: {Motion(**row['motion'])}"


def page(about: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Return the page in Markdown: a table, the limit, and the runs that missed it."""
    facts = [f"- {name}: {value}" for name, value in about.items()]
    groups: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["pair"], row["masks"]), []).append(row)
    table = [f"| {' | '.join(TITLES)} |", "|" + "---|" * len(TITLES), *map(table_line, groups.values())]
    missed = [row for row in rows if error(row) >= LIMIT]
    verdict = f"**missed** by {len(missed)} of {len(rows)} runs" if missed else f"met by all {len(rows)} runs"
    limit = ["", f"Limit: every mean TRE below {LIMIT:g} mm: {verdict}.", "", *map(missed_line, missed)]
    return "\n".join(["# Headers moved at random", "", *facts, NOTES, *table, *limit]).rstrip() + "\n"


def table_line(rows: list[dict[str, Any]]) -> str:
    """Return what the runs of one pair, with or without masks, come to."""
    worst = max(rows, key=error)
    cells = [worst["pair"], "yes" if worst["masks"] else "no", f"{len(rows)}"]
    cells += [f"{error(worst):.3f}", f"{median(map(error, rows)):.3f}", f"{sum(error(row) >= LIMIT for row in rows)}"]
    cells += [f"{sum(row['cpu_s'] for row in rows):.1f}", shown(worst)]
    return f"| {' | '.join(cells)} |"


def missed_line(row: dict[str, Any]) -> str:
    """Return all that it takes to see a run again."""
    axis, shift = (", ".join(f"{part:.3f}" for part in row["motion"][name]) for name in ("axis", "shift"))
    masks = "masks" if row["masks"] else "no masks"
    return f"- {row['pair']}, {masks}, {shown(row)}; axis ({axis}), shift ({shift}) mm: {outcome(row)}"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = {"type": lambda text: [part for part in text.split(",") if part], "metavar": "A,B"}
    parser.add_argument("data", type=lambda text: Path(text).resolve())
    parser.add_argument("--motions", type=int, default=20, help="of each pair, seeds 0, 1, ...")
    parser.add_argument("--only", default=[], **names, help="measure these pairs")
    parser.add_argument("--preset", default="lung-ct")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each with one thread")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured before")
    parser.add_argument("--work", type=lambda text: Path(text).resolve(), default=HERE / "work")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results")
    args = parser.parse_args()
    if strangers := set(args.only) - {*MOVED, *AS_THEY_ARE}:
        parser.error(f"no such pair: {', '.join(sorted(strangers))}; there are {', '.join([*MOVED, *AS_THEY_ARE])}")
    return args


def main() -> None:
    """Measure what is missing, then write the results."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that runs in progress end with us
    args = arguments()
    rows = measured_rows(args)
    days = ", ".join(sorted({row["date"] for row in rows}))
    about = machine() | {"preset": args.preset, "rows measured on": days}
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "robustness.json").write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    (args.output / "robustness.md").write_text(page(about, rows))
    print(page(about, rows))


if __name__ == "__main__":
    main()
