"""Register after random rigid motions of the header of the moving image.

    python benchmarks/robustness.py DATA [--motions 20] [--only PAIR,PAIR] [--preset lung-ct] [--jobs 2] [--fresh]

On `lung_ct` and the 25 mm lung phantoms, seeded random rigid motions are applied to the moving image, its mask and its
landmarks, about the centre of the image: the axis uniform on the sphere, the angle uniform up to 40 degrees, the shift
of uniform direction and of length uniform up to 60 mm. Only origin and direction of the header change, nothing is
resampled; a seed yields the same motion for every pair. Each pair is registered with both masks and without masks. The
60 mm phantoms are registered unchanged, with masks. The target is a mean TRE below 2 mm in all runs.

The runs call `nephi.register` on images in memory, many in one process, since the other benchmarks measure start-up and
export. Rows are stored in the work folder: an interrupted run continues, `--fresh` measures the selected pairs again.
Writes `robustness.md` and `robustness.json`.
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

from compare import load_row, prepare_pair
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
TITLES = ("pair", "masks", "runs", "worst mean TRE, mm", "median", f"{LIMIT:g} mm or more", "CPU s", "worst run")
NOTES = f"""
The header of the moving image, its mask and its landmarks are moved rigidly about the centre of the image: axis uniform
on the sphere, angle uniform up to {MAX_ANGLE:g} degrees, shift of uniform direction and of length uniform up to
{MAX_SHIFT:g} mm. The 60 mm phantoms are not moved. CPU s is the sum over the runs of a line, without the
export of results.
"""


@dataclass(frozen=True)
class Run:
    """One registration: a pair, whether it has masks, and the seed of the motion (None: no motion)."""

    pair: Pair
    masks: bool
    seed: int | None
    preset: str

    @property
    def name(self) -> str:
        """Name of the run, on the screen and in the work folder."""
        motion = "as_it_is" if self.seed is None else f"motion_{self.seed:02d}"
        return "-".join([self.pair.name, "masks" if self.masks else "no_masks", motion, self.preset])

    def measure(self) -> dict[str, Any]:
        """Register the moved pair; return the motion, the errors and the CPU time."""
        motion = STILL if self.seed is None else Motion.random(self.seed)
        row = {"pair": self.pair.name, "masks": self.masks, "seed": self.seed, "motion": asdict(motion)}
        row |= {"preset": self.preset, "date": date.today().isoformat()}
        images, landmarks = move_pair(self.pair, motion)
        if not self.masks:
            del images["fixed_mask"], images["moving_mask"]
        start = time.process_time()
        try:
            transform = nephi.register(**images, preset=self.preset, device="cpu").transform
        except nephi.NephiError as failure:
            return row | {"cpu_s": time.process_time() - start, "error": str(failure)}
        row["cpu_s"] = time.process_time() - start
        tre = nephi.landmark_errors(transform, landmarks).summary()
        return row | {"tre_before_mm": tre["before"], "tre_mean_mm": tre["mean"], "tre_max_mm": tre["max"]}


def move_pair(pair: Pair, motion: Motion) -> tuple[dict[str, nephi.Image], nephi.PointPairs]:
    """Return the images and masks by argument of `nephi.register`, and the landmarks, with the moving side moved."""
    images, landmarks = load_pair(pair)
    matrix = motion.about(images["moving"].grid.centre_world())
    moved_images = {part: images[part].with_grid(images[part].grid.transformed(matrix)) for part in MOVING_PARTS}
    moved_landmarks = landmarks.moving.mapped(nephi.AffineTransform(matrix))
    return images | moved_images, nephi.PointPairs(landmarks.fixed, moved_landmarks)


@lru_cache(maxsize=1)  # runs of the same pair are consecutive
def load_pair(pair: Pair) -> tuple[dict[str, nephi.Image], nephi.PointPairs]:
    """Read images, masks and landmarks of a pair."""
    return {part: nephi.read_image(getattr(pair, part)) for part in PARTS}, nephi.read_point_pairs(pair.landmarks)


def runs(args: argparse.Namespace) -> list[Run]:
    """Return all runs, selected or not."""
    pairs = {pair.name: pair for pair in all_pairs(args.data, args.work / "pairs")}
    cases = [(name, masks, seed) for name in MOVED for masks in (True, False) for seed in range(args.motions)]
    cases += [(name, True, None) for name in AS_THEY_ARE]
    return [Run(pairs[name], masks, seed, args.preset) for name, masks, seed in cases]


def measured_rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the missing runs, `args.jobs` at a time; return the rows of all measured runs."""
    folder = args.work / "robustness"
    folder.mkdir(parents=True, exist_ok=True)
    paths = {run: folder / f"{run.name}.json" for run in runs(args)}
    selected = [run for run in paths if run.pair.name in (args.only or [run.pair.name])]
    rows = {run: load_row(path, run in selected, args.fresh) for run, path in paths.items()}
    missing = [run for run in selected if rows[run] is None]
    for pair in dict.fromkeys(run.pair for run in missing):
        prepare_pair(pair, args)
    with get_context("spawn").Pool(args.jobs) as pool:  # its exit ends the runs in progress
        for run, row in zip(missing, pool.imap(Run.measure, missing), strict=True):
            rows[run] = row
            paths[run].write_text(json.dumps(row, indent=1) + "\n")
            print(f"{run.name}: {outcome(row)}, {row['cpu_s']:.1f} CPU s ({describe_motion(row)})", flush=True)
    return [row for row in rows.values() if row]


def error(row: dict[str, Any]) -> float:
    """Return the mean TRE in mm; infinite if the registration failed."""
    return row.get("tre_mean_mm", math.inf)


def outcome(row: dict[str, Any]) -> str:
    """Return the error of a run as text, or the reason of its failure."""
    return row.get("error") or f"{error(row):.3f} mm"


def describe_motion(row: dict[str, Any]) -> str:
    """Return the motion of a run as text."""
    return "no motion" if row["seed"] is None else f"seed {row['seed']}: {Motion(**row['motion'])}"


def page(about: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Return the page in Markdown: a table, the target, and the runs that missed it."""
    facts = [f"- {name}: {value}" for name, value in about.items()]
    groups: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["pair"], row["masks"]), []).append(row)
    table = [f"| {' | '.join(TITLES)} |", "|" + "---|" * len(TITLES), *map(table_line, groups.values())]
    missed = [row for row in rows if error(row) >= LIMIT]
    verdict = f"**missed** by {len(missed)} of {len(rows)} runs" if missed else f"met by all {len(rows)} runs"
    limit = ["", f"Target: mean TRE below {LIMIT:g} mm in all runs: {verdict}.", "", *map(missed_line, missed)]
    return "\n".join(["# Random motions of the header", "", *facts, NOTES, *table, *limit]).rstrip() + "\n"


def table_line(rows: list[dict[str, Any]]) -> str:
    """Return the line of the runs of one pair, with or without masks."""
    worst = max(rows, key=error)
    cells = [worst["pair"], "yes" if worst["masks"] else "no", f"{len(rows)}"]
    cells += [f"{error(worst):.3f}", f"{median(map(error, rows)):.3f}", f"{sum(error(row) >= LIMIT for row in rows)}"]
    cells += [f"{sum(row['cpu_s'] for row in rows):.1f}", describe_motion(worst)]
    return f"| {' | '.join(cells)} |"


def missed_line(row: dict[str, Any]) -> str:
    """Return all data needed to repeat a run."""
    axis, shift = (", ".join(f"{part:.3f}" for part in row["motion"][name]) for name in ("axis", "shift"))
    masks = "masks" if row["masks"] else "no masks"
    return f"- {row['pair']}, {masks}, {describe_motion(row)}; axis ({axis}), shift ({shift}) mm: {outcome(row)}"


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = {"type": lambda text: [part for part in text.split(",") if part], "metavar": "A,B"}
    parser.add_argument("data", type=lambda text: Path(text).resolve())
    parser.add_argument("--motions", type=int, default=20, help="motions per pair, seeds 0, 1, ...")
    parser.add_argument("--only", default=[], **names, help="pairs to measure")
    parser.add_argument("--preset", default="lung-ct")
    parser.add_argument("--jobs", type=int, default=1, help="parallel runs, each with one thread")
    parser.add_argument("--fresh", action="store_true", help="repeat existing measurements")
    parser.add_argument("--work", type=lambda text: Path(text).resolve(), default=HERE / "work")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results")
    args = parser.parse_args()
    if unknown := set(args.only) - {*MOVED, *AS_THEY_ARE}:
        parser.error(f"no such pair: {', '.join(sorted(unknown))}; there are {', '.join([*MOVED, *AS_THEY_ARE])}")
    return args


def main() -> None:
    """Measure the missing runs, then write the results."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # to end runs in progress together with this process
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
