"""Register all cases of a lung data set with the presets, and show the errors beside published ones.

    python benchmarks/dirlab.py DATASET [--presets lung-ct,lung-ct-fast,lung-ct-best] [--splits val,test] [--fresh]

DATASET is the folder that `python -m data_scripts` makes of DIR-Lab 4DCT, DIR-Lab COPDgene or Learn2Reg's NLST. Every
pair of the splits that has landmarks is registered by `nephi register`, with its masks if there are any, one process at
a time. The error (TRE) is stated twice: unrounded, and with the mapped points rounded to the nearest voxel centre of
the moving image, on which the landmarks of DIR-Lab were set, as in most papers on these data. Errors of both kinds must
not be compared with each other. Rows are stored in the work folder: an interrupted run continues, `--fresh` measures
again. Writes `dirlab-NAME.md` and `.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import mean
from typing import Any

from machine import description, machine
from process import measure_command
from torch import Tensor

import nephi

HERE = Path(__file__).resolve().parent
PRESETS = ("lung-ct", "lung-ct-fast", "lung-ct-best")
COLUMNS = {"before_mm": "before, mm", "tre_mm": "TRE, mm", "snapped_mm": "TRE snapped, mm"}
COLUMNS |= {"folding_percent": "det J <= 0, %", "cpu_s": "CPU s", "wall_s": "wall s"}
DIGITS = {"folding_percent": 4, "cpu_s": 1, "wall_s": 1}
SNAPPED, UNROUNDED, UNSTATED = "snapped", "unrounded", "rounding not stated"
PUBLISHED = {
    "DIR-Lab 4DCT": (
        ("pTVreg", 0.92, SNAPPED),
        ("pTVreg", 1.055, UNROUNDED),
        ("multiresolution B-splines", 0.917, SNAPPED),
        ("multiresolution B-splines", 1.048, UNROUNDED),
        ("NGPDIR", 1.15, UNSTATED),
    ),
    "DIR-Lab COPDgene": (
        ("RRN", 0.83, UNSTATED),
        ("pTVreg", 0.846, SNAPPED),
        ("CARL", 1.25, UNSTATED),
        ("GradICON", 1.31, UNSTATED),
        ("uniGradICON", 1.40, f"with optimisation, {UNSTATED}"),
    ),
}
"""Means over the ten cases and 300 landmarks each, mm, by the name of the data set."""
NOTES = """
TRE: distance between mapped fixed landmarks and moving landmarks, the mean of a case; the last line of a preset is the
mean of the cases. Snapped: the mapped points are rounded to the nearest voxel centre of the moving image. det J <= 0:
voxels that fold, inside the mask of the fixed image (without a mask: in the whole grid). CPU s is user + system time of
the whole process, which writes the transform and the report, no displacement field.
"""


def snapped(transform: Callable[[Tensor], Tensor], moving: nephi.Grid) -> Callable[[Tensor], Tensor]:
    """Return the map to the voxel centre of the moving image that is nearest to `transform(points)`; world mm.

    The evaluation of pTVreg (`DIR_movepoints.m` of its repository), whose published errors are of this kind.
    """
    return lambda points: moving.voxel_to_world_points(moving.world_to_voxel_points(transform(points)).round())


@dataclass(frozen=True)
class Case:
    """A pair of the data set, the preset to register it with, and the folder of its row and results."""

    index: nephi.datasets.DatasetIndex
    pair: nephi.datasets.DatasetPair
    preset: str
    folder: Path

    @property
    def row_file(self) -> Path:
        """The file of the row."""
        return self.folder / f"{self.pair.fixed}--{self.pair.moving}-{self.preset}.json"

    def command(self, threads: int, output: Path) -> list[str | Path]:
        """Return the command line."""
        sides = [self.index.image(id) for id in (self.pair.fixed, self.pair.moving)]
        fixed, moving = (self.index.path(side.image) for side in sides)
        command = [sys.executable, "-m", "nephi.cli", "register", "-f", fixed, "-m", moving, "--preset", self.preset]
        for name, side in zip(("fixed", "moving"), sides, strict=True):
            command += [f"--{name}-mask", self.index.path(side.mask)] if side.mask else []
        tail = ["--seed", "0", "--threads", str(threads), "--save", "transform,report", "-q", "--overwrite"]
        return [*command, *tail, "-o", output]

    def measure(self, threads: int) -> dict[str, Any]:
        """Register the pair; return the row."""
        row = {"fixed": self.pair.fixed, "moving": self.pair.moving, "preset": self.preset}
        row |= {"date": date.today().isoformat(), "machine": description()}
        output = self.folder / "registration"
        cost = measure_command(self.command(threads, output), self.folder / "log")
        if cost.code:
            return row | {"error": cost.output.strip()[-300:]}
        report = json.loads((output / "report.json").read_text(encoding="utf-8"))
        regularity = report.get("inside_mask") or report["whole_grid"]
        row |= {"cpu_s": cost.cpu_s, "wall_s": cost.wall_s, "folding_percent": regularity["folding_percent"]}
        return row | self.errors(nephi.read_transform(output / "transform.nephi"))

    def errors(self, transform: nephi.Transform) -> dict[str, Any]:
        """Return the mean landmark errors before and after, mm, and the unrounded error of each landmark."""
        assert self.pair.landmarks is not None
        landmarks = nephi.read_point_pairs(self.index.path(self.pair.landmarks))
        moving = nephi.io.read_grid(self.index.path(self.index.image(self.pair.moving).image))
        errors = nephi.landmark_errors(transform, landmarks)
        rounded = nephi.landmark_errors(snapped(transform, moving), landmarks)
        means = {"before_mm": errors.before, "tre_mm": errors.after, "snapped_mm": rounded.after}
        each = [round(error, 4) for error in errors.after.tolist()]
        return {name: float(values.mean()) for name, values in means.items()} | {"errors_mm": each}


def cases(index: nephi.datasets.DatasetIndex, args: argparse.Namespace) -> list[Case]:
    """Return all cases: preset by preset, every pair with landmarks."""
    folder = args.work / "dirlab" / file_name(index)
    pairs = [pair for name in args.splits if name in index.splits for pair in index.pairs(name) if pair.landmarks]
    if not pairs:
        sys.exit(f"{index.folder}: expected pairs with landmarks in the splits {', '.join(args.splits)}, found none")
    folder.mkdir(parents=True, exist_ok=True)
    return [Case(index, pair, preset, folder) for preset in args.presets for pair in pairs]


def file_name(index: nephi.datasets.DatasetIndex) -> str:
    """Return the name of the data set for files."""
    return index.name.lower().replace(" ", "-").replace("/", "-")


def page(about: dict[str, Any], name: str, rows: list[dict[str, Any]]) -> str:
    """Return the page: a table for each preset, and the published errors."""
    lines = [f"# {name}", "", *(f"- {key}: {value}" for key, value in about.items()), NOTES]
    for preset in dict.fromkeys(row["preset"] for row in rows):
        measured = [row for row in rows if row["preset"] == preset]
        whole = [row for row in measured if "error" not in row]
        lines += [f"## {preset}", "", "| pair | " + " | ".join(COLUMNS.values()) + " |"]
        lines += ["|" + "---|" * (len(COLUMNS) + 1)]
        lines += [table_line(f"{row['fixed']} to {row['moving']}", row) for row in measured]
        if whole:
            count = f"mean of {len(whole)}" if len(whole) == len(measured) else f"mean of {len(whole)}, others failed"
            lines.append(table_line(count, {key: mean(row[key] for row in whole) for key in COLUMNS}))
        lines.append("")
    lines += ["## Published", "", "| method | TRE, mm | kind |", "|---|---|---|"]
    lines += [f"| {method} | {error:g} | {kind} |" for method, error, kind in PUBLISHED.get(name, ())]
    return "\n".join(lines if name in PUBLISHED else lines[:-4]).rstrip() + "\n"


def table_line(title: str, row: dict[str, Any]) -> str:
    """Return one line of the table; the reason instead of numbers for a pair that failed."""
    if "error" in row:
        return f"| {title} | " + " ".join(row["error"].replace("|", "/").split()) + " |" * len(COLUMNS)
    return f"| {title} | " + " | ".join(f"{row[key]:.{DIGITS.get(key, 3)}f}" for key in COLUMNS) + " |"


def arguments(words: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = {"type": lambda text: [part for part in text.split(",") if part], "metavar": "A,B"}
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--presets", default=[*PRESETS], **names, help="presets of nephi")
    parser.add_argument("--splits", default=["val", "test"], **names, help="splits whose pairs are registered")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured before")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=lambda text: Path(text).resolve(), default=HERE / "work")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results")
    args = parser.parse_args(words)
    if unknown := set(args.presets) - set(nephi.preset_names()):
        parser.error(f"--presets: expected some of {', '.join(nephi.preset_names())}, got {', '.join(sorted(unknown))}")
    return args


def main(words: list[str] | None = None) -> None:
    """Measure the missing rows, then print and write the page."""
    args = arguments(words)
    try:
        index = nephi.datasets.read_dataset_index(args.dataset)
    except nephi.NephiError as error:
        sys.exit(str(error))
    rows = []
    for case in cases(index, args):
        if args.fresh or not case.row_file.is_file():
            row = case.measure(args.threads)
            case.row_file.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
            print({key: value for key, value in row.items() if key not in ("errors_mm", "machine")}, flush=True)
        rows.append(json.loads(case.row_file.read_text(encoding="utf-8")))
    text = page(about := machine() | {"threads": args.threads}, index.name, rows)
    args.output.mkdir(parents=True, exist_ok=True)
    target = args.output / f"dirlab-{file_name(index)}.json"
    target.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    target.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
