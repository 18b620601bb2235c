"""Errors of the initial alignment alone: turned headers, two stains, parts of organs, and pairs that need none.

    python benchmarks/starts.py DATA [--initial auto] [--only GROUP,GROUP] [--first 0] [--count 20] [--fresh]

No deformation is fitted, which makes a case cheap: the start of `--initial`, with the search over rotations that
belongs to it, is compared with the known motion. A case succeeds if the mean error at landmarks, or at points in the
labels, is at most `MOST` of the longest edge of the fixed image: the rest is left to the affine map and the fit.
Groups:

* `lung_ct`, `lung_phantom`, `brain_mri`, `brain_contrast`, each with and without masks: headers moved as in
  robustness.py (`brain_contrast`: the moving brain in another contrast, as in compare.py);
* `stains`: 2-D sections in two stains, turned by 0 to 180 degrees, three times as many cases;
* `parts`: half of the organ is missing in one image: turned sections in two stains (even numbers) and moved lung
  phantoms (odd numbers);
* `cord_mr`: T1 and T2 of a neck, both ways, aligned by their headers.

Seeds are `--first` and the following; 0 to 99 served for development, results are counted on others. Every case is
independent and stored in the work folder: an interrupted run continues, `--fresh` measures again. Writes `starts.md`
and `starts.json`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

import torch
from compare import load_row
from machine import machine
from methods import HERE
from motions import Motion

import nephi
from nephi.optimize import initial_alignment, search_rotation, search_start
from nephi.phantoms import PhantomPair, half_field_of_view, lung_phantom, stains_phantom
from nephi.preparation import Pair, prepare_pair
from nephi.sampling import MaskPoints

MOST = 0.05  # of the longest edge
POINTS = 300  # in the labels
TITLES = ("group", "cases", "succeeded", "median error, mm", "worst, mm", "least margin", "CPU s a case", "failed")


@dataclass(frozen=True)
class Moved:
    """Images and masks in their places, and true pairs of points."""

    images: dict[str, nephi.Image]
    preset: str
    fixed: torch.Tensor
    moving: torch.Tensor


@dataclass(frozen=True)
class Case:
    """One pair of a group, by its seed."""

    group: str
    seed: int

    @property
    def name(self) -> str:
        """Name of the case, on the screen and in the work folder."""
        return f"{self.group}-{self.seed:03d}"

    def measure(self, data: Path, initial: str) -> dict[str, Any]:
        """Search the start; return its error, score and CPU time."""
        moved = GROUPS[self.group](data, self.seed)
        names = ("fixed", "moving", "fixed_mask", "moving_mask")
        pair, settings = prepare_pair(*(moved.images.get(name) for name in names), nephi.preset(moved.preset))
        begin = time.process_time()
        transform, facts = start_of(pair, settings.affine, initial)
        seconds = time.process_time() - begin
        edge = max(n * s for n, s in zip(pair.fixed.grid.shape, pair.fixed.grid.spacing.tolist(), strict=True))
        errors = {"error_mm": transform(moved.fixed) - moved.moving, "before_mm": moved.fixed - moved.moving}
        return {
            **asdict(self),
            **{name: float(vectors.norm(dim=-1).mean()) for name, vectors in errors.items()},
            "edge_mm": edge,
            "cpu_s": seconds,
            **facts,
        }


def start_of(pair: Pair, settings: Any, initial: str) -> tuple[nephi.AffineTransform, dict[str, Any]]:
    """Return the map from which the affine fit of a registration begins, and facts about it."""
    generator = torch.Generator().manual_seed(0)
    if initial == "auto":
        start = search_start(pair, settings, generator)
        return start.transform, start.table()
    transform = initial_alignment(pair, initial)
    return (transform if initial == "none" else search_rotation(pair, transform, settings, generator)), {}


def lung_ct(masks: bool) -> Callable[[Path, int], Moved]:
    """Return the cases of `lung_ct` with moved headers."""
    return lambda data, seed: with_moved_header(*_lung_ct(data), "lung-ct", masks, seed)


def lung_phantoms(masks: bool) -> Callable[[Path, int], Moved]:
    """Return the cases of the 25 mm phantoms, of which a seed takes one of three."""

    def make(_: Path, seed: int) -> Moved:
        return with_moved_header(*_in_parts(_lungs(seed % 3)), "lung-ct", masks, seed)

    return make


def brains(masks: bool, contrast: bool) -> Callable[[Path, int], Moved]:
    """Return the cases of `brain_mri`, in the same or another contrast, with the labels as masks."""
    preset = "multimodal" if contrast else "brain-mri"
    return lambda data, seed: with_moved_header(*_brains(data, contrast), preset, masks, seed)


def stains(_: Path, seed: int) -> Moved:
    """Return a pair of stains, turned by 0 to 180 degrees in steps of 3."""
    pair = stains_phantom(seed, 3.0 * (seed * 23 % 61))
    images = {"fixed": pair.fixed, "moving": pair.moving}
    return Moved(images, "generic", pair.landmarks.fixed.coordinates, pair.landmarks.moving.coordinates)


def parts(_: Path, seed: int) -> Moved:
    """Return a pair of which one image lacks half of the organ: stains, or moved lungs."""
    part, side = ("fixed", "moving")[seed // 2 % 2], ("low", "high")[seed // 4 % 2]
    if seed % 2:
        halved = half_field_of_view(_lungs(seed % 3), part, seed // 8 % 3, side)
        return with_moved_header(*_in_parts(halved), "ct", False, seed)
    halved = half_field_of_view(stains_phantom(seed, 3.0 * (seed * 23 % 61)), part, seed // 8 % 2, side)
    images, points = _in_parts(halved)
    return Moved({name: images[name] for name in ("fixed", "moving")}, "generic", *points)


def cords(preset: str) -> Callable[[Path, int], Moved]:
    """Return T1 and T2 of a neck: even seeds, and the other way round: odd ones."""

    def make(data: Path, seed: int) -> Moved:
        names = ("moving", "fixed") if seed % 2 else ("fixed", "moving")
        images = {
            part: nephi.read_image(data / "cord_mr" / f"{name}.nii.gz")
            for part, name in zip(("fixed", "moving"), names, strict=True)
        }
        points = _label_points(data / "cord_mr" / "fixed_labels.nii.gz")
        return Moved(images, preset, points, points)

    return make


GROUPS: dict[str, Callable[[Path, int], Moved]] = {
    "lung_ct_masks": lung_ct(True),
    "lung_ct": lung_ct(False),
    "lung_phantom_masks": lung_phantoms(True),
    "lung_phantom": lung_phantoms(False),
    "brain_mri_masks": brains(True, False),
    "brain_mri": brains(False, False),
    "brain_contrast_masks": brains(True, True),
    "brain_contrast": brains(False, True),
    "stains": stains,
    "parts": parts,
    "cord_mr_generic": cords("generic"),
    "cord_mr_multimodal": cords("multimodal"),
}


def with_moved_header(
    images: dict[str, nephi.Image], points: tuple[torch.Tensor, torch.Tensor], preset: str, masks: bool, seed: int
) -> Moved:
    """Return images and points with the moving side moved by a seed's motion."""
    matrix = Motion.random(seed).about(images["moving"].grid.centre_world())
    kept = {name: image for name, image in images.items() if masks or not name.endswith("mask")}
    moved = {
        name: image.with_grid(image.grid.transformed(matrix)) if name.startswith("moving") else image
        for name, image in kept.items()
    }
    return Moved(moved, preset, points[0], nephi.AffineTransform(matrix)(points[1]))


Parts = tuple[dict[str, nephi.Image], tuple[torch.Tensor, torch.Tensor]]


def _in_parts(pair: PhantomPair) -> Parts:
    names = ("fixed", "moving", "fixed_mask", "moving_mask")
    points = pair.landmarks.fixed.coordinates, pair.landmarks.moving.coordinates
    return {name: getattr(pair, name) for name in names}, points


@lru_cache(maxsize=3)
def _lungs(seed: int) -> PhantomPair:
    return lung_phantom(seed, 25.0)


@lru_cache(maxsize=1)
def _lung_ct(data: Path) -> Parts:
    names = ("fixed", "moving", "fixed_mask", "moving_mask")
    pairs = nephi.read_point_pairs(data / "lung_ct" / "landmarks.csv")
    images = {name: nephi.read_image(data / "lung_ct" / f"{name}.mha") for name in names}
    return images, (pairs.fixed.coordinates, pairs.moving.coordinates)


@lru_cache(maxsize=2)
def _brains(data: Path, contrast: bool) -> Parts:
    """Return both brains, and points in the labels, which the headers align to a few millimetres."""
    folder = data / "brain_mri"
    images = {name: nephi.read_image(folder / f"{name}.nii.gz") for name in ("fixed", "moving")}
    for name in ("fixed", "moving"):
        labels = nephi.read_image(folder / f"{name}_labels.nii.gz")
        images[f"{name}_mask"] = labels.with_data((labels.data > 0).to(torch.uint8))
    if contrast:  # as pairs.remap: bright fluid, dark grey, lighter white matter
        values = images["moving"].data.float()
        curve = 0.55 + 0.45 * torch.cos(2 * torch.pi / 0.6 * values)
        images["moving"] = images["moving"].with_data(torch.where(values > 0, curve, 0.0))
    points = _label_points(folder / "fixed_labels.nii.gz")
    return images, (points, points)


def _label_points(path: Path) -> torch.Tensor:
    return MaskPoints(nephi.read_image(path)).draw(POINTS, torch.Generator().manual_seed(0)).double()


def cases(args: argparse.Namespace) -> list[Case]:
    """Return all cases, selected or not."""
    result = []
    for group in GROUPS:
        count = 2 if group.startswith("cord") else 3 * args.count if group == "stains" else args.count
        first = 0 if group.startswith("cord") else args.first
        result += [Case(group, seed) for seed in range(first, first + count)]
    return result


def measured_rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the missing cases; return the rows of all measured ones."""
    folder = args.work / "starts" / args.initial
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for case in cases(args):
        path = folder / f"{case.name}.json"
        wanted = case.group in (args.only or [case.group])
        row = load_row(path, wanted, args.fresh)
        if row is None and wanted:
            row = case.measure(args.data, args.initial)
            path.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
            print(f"{case.name}: {describe(row)}", flush=True)
        if row is not None:
            rows.append(row)
    return rows


def succeeded(row: dict[str, Any]) -> bool:
    """Return whether the error of a start is small enough for a fit."""
    return bool(row["error_mm"] <= MOST * row["edge_mm"])


def describe(row: dict[str, Any]) -> str:
    """Return the result of a case as text."""
    found = f", {row['hypothesis']}, margin {row['margin']:.2f}" if "margin" in row else ""
    verdict = "ok" if succeeded(row) else "FAILED"
    return f"{verdict} {row['before_mm']:.1f} -> {row['error_mm']:.2f} mm{found}, {row['cpu_s']:.2f} CPU s"


def table_line(rows: list[dict[str, Any]]) -> str:
    """Return the line of a group."""
    errors, failed = [row["error_mm"] for row in rows], [str(row["seed"]) for row in rows if not succeeded(row)]
    margins = [row["margin"] for row in rows if "margin" in row]
    cells = [rows[0]["group"], f"{len(rows)}", f"{len(rows) - len(failed)}", f"{median(errors):.2f}"]
    cells += [f"{max(errors):.2f}", f"{min(margins):.2f}" if margins else "", f"{seconds(rows):.2f}"]
    return f"| {' | '.join([*cells, 'seeds ' + ', '.join(failed) if failed else 'none'])} |"


def seconds(rows: list[dict[str, Any]]) -> float:
    """Return the mean CPU time of cases."""
    return sum(row["cpu_s"] for row in rows) / len(rows)


def verdict(rows: list[dict[str, Any]], planned: int) -> str:
    """Return how many cases of a group succeeded, of how many that have to; no verdict before all are measured."""
    allowed = planned // 30 if rows[0]["group"] == "stains" else 0  # 58 of 60
    failed = sum(not succeeded(row) for row in rows)
    state = "**missed**" if failed > allowed else "met" if len(rows) == planned else "no failure so far, incomplete"
    counts = f"{len(rows) - failed} of {len(rows)} measured"
    return f"- {rows[0]['group']}: {counts}; at least {planned - allowed} of {planned}: {state}"


def page(about: dict[str, Any], rows: list[dict[str, Any]], planned: Counter[str]) -> str:
    """Return the page in Markdown; `planned` is the number of cases of each group."""
    facts = [f"- {name}: {value}" for name, value in about.items()]
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    verdicts = [verdict(each, planned[group]) for group, each in groups.items()]
    notes = f"A start succeeds if its mean error is at most {100 * MOST:g} % of the fixed image's longest edge."
    table = [f"| {' | '.join(TITLES)} |", "|" + "---|" * len(TITLES), *map(table_line, groups.values())]
    return "\n".join(["# Initial alignments", "", *facts, "", notes, "", *table, "", *verdicts]) + "\n"


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=lambda text: Path(text).resolve())
    parser.add_argument("--initial", default="auto", choices=nephi.settings.INITIALS)
    names = {"type": lambda text: [part for part in text.split(",") if part], "metavar": "A,B"}
    parser.add_argument("--only", default=[], **names, help="groups to measure")
    parser.add_argument("--first", type=int, default=100, help="seed of the first case")
    parser.add_argument("--count", type=int, default=20, help="cases of a group; three times as many stains")
    parser.add_argument("--fresh", action="store_true", help="repeat existing measurements")
    parser.add_argument("--work", type=lambda text: Path(text).resolve(), default=HERE / "work")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results")
    args = parser.parse_args()
    if unknown := set(args.only) - GROUPS.keys():
        parser.error(f"no such group: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    return args


def main() -> None:
    """Measure the missing cases, then write the results."""
    args = arguments()
    torch.set_num_threads(1)
    rows = measured_rows(args)
    planned = Counter(case.group for case in cases(args))
    about = machine() | {"initial": args.initial, "seeds": f"{args.first} and the following (cord_mr: 0 and 1)"}
    about["rows"] = "stored ones of earlier commands included"
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "starts.json").write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n", "utf-8")
    (args.output / "starts.md").write_text(page(about, rows, planned), encoding="utf-8")
    print(page(about, rows, planned))


if __name__ == "__main__":
    main()
