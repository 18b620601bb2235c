"""Errors of the initial alignment alone: turned headers, two stains, parts of organs, and pairs that need none.

    python benchmarks/starts.py DATA [--initial auto] [--only GROUP,GROUP] [--first 0] [--count 20] [--fresh]

No deformation is fitted, which makes a case cheap: the start of `--initial`, with the search over rotations that
belongs to it, is compared with the known motion. A case succeeds if the mean error at landmarks, or at points in the
labels, is at most `MOST` (in starts_page.py) of the longest edge of the fixed image: the rest is left to the affine map
and the fit. Groups:

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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from compare import load_row
from machine import machine
from methods import HERE
from start_cases import GROUPS
from starts_page import describe, page

import nephi
from nephi.optimize import initial_alignment, search_rotation, search_start
from nephi.preparation import Pair, prepare_pair


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
