"""Measure what landmarks, labels and a second channel that guide a registration are worth.

    python benchmarks/guidance.py DATA [--only labels,landmarks,channels] [--fresh]

- `labels`: `brain_mri`, guided by every second of the labels of both images in ascending order, beginning with the
  first. Target: the mean Dice of the others gains 0.01 or more.
- `landmarks`: three lung phantoms of 25 mm, guided by 100 of their 300 landmarks, of which every tenth is moved 10 to
  40 mm in a random direction; measured at the other 200; the mean of three seeds. Target: not worse than without
  guidance by more than the spread over the seeds, and better than the same pull without robustness: least squares, or
  the mean distance. `lung_ct`: guided by 25 of the 50 landmarks, every tenth of them moved; measured at the other 25.
- `channels`: three pairs of shapes in two channels, each of which shows other parts of them. Target: both together are
  better than the better one alone.

The runs call `nephi.register` on images in memory, one after the other. Rows are stored in the work folder; `--fresh`
measures again. Writes `guidance.md` and `guidance.json`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from math import nan
from pathlib import Path
from statistics import mean
from typing import Any
from unittest.mock import patch

import torch
from machine import machine
from methods import HERE

import nephi
from nephi import losses, metrics, phantoms

GAIN = 0.01  # Dice
SEEDS = range(3)
GUIDING = 100
STRIPES = 40.0  # mm, in which the channels show the shapes in turn
LEAST_SQUARES, MEAN_DISTANCE = "one in ten wrong, least squares", "one in ten wrong, mean distance"
COLUMNS = {
    "labels": {
        "dice_guiding": "Dice, guiding labels",
        "dice_held_out": "Dice, other labels",
        "folding_percent": "J <= 0, %",
    },
    "landmarks": {"tre_mean_mm": "TRE mean, mm", "tre_p90_mm": "p90", "tre_spread_mm": "spread over seeds"},
    "channels": {"tre_mean_mm": "TRE mean, mm", "tre_p90_mm": "p90"},
}
NOTES = """
Labels: every second label in ascending order guides, the others are measured. Landmarks: 100 of 300 guide (25 of 50 on
`lung_ct`), the others are measured; every tenth of those that guide is moved by 10 to 40 mm; `least squares` and `mean
distance` pull with the same weight, but not robustly; means of three seeds. Channels: stripes of 40 mm show the shapes
in one channel or in the other; `none` is the first channel alone. CPU s without reading, export and imports.
"""
Row = dict[str, Any]
Images = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One registration: part and pair, a name of its guidance, how it is registered, and its measure."""

    part: str
    pair: str
    guidance: str
    register: Callable[[], list[nephi.Registration]]
    measure: Callable[[list[nephi.Registration]], Row]

    @property
    def name(self) -> str:
        """Name of the run, on the screen and in the work folder."""
        return "-".join([self.part, self.pair, self.guidance]).replace(" ", "_")

    def row(self) -> Row:
        """Register and measure."""
        start = time.process_time()
        results = self.register()
        cpu_s = (time.process_time() - start) / len(results)
        about = {"part": self.part, "pair": self.pair, "guidance": self.guidance, "date": date.today().isoformat()}
        return about | {"cpu_s": cpu_s} | self.measure(results)


def label_runs(data: Path) -> Iterator[Run]:
    """Yield the registrations of two brains without and with half of their labels."""
    images = {name: nephi.read_image(data / "brain_mri" / f"{name}.nii.gz") for name in ("fixed", "moving")}
    labels = [nephi.read_image(data / "brain_mri" / f"{name}_labels.nii.gz") for name in images]
    common = sorted(metrics.dice(labels[0], labels[1], lambda points: points))
    guiding, held_out = common[::2], common[1::2]
    halves = tuple(
        each.with_data(torch.where(torch.isin(each.data, torch.tensor(guiding).to(each.data)), each.data, 0))
        for each in labels
    )

    def measure(results: list[nephi.Registration]) -> Row:
        (result,) = results
        overlaps = metrics.dice(labels[0], labels[1], result.transform)
        values = {"guiding": guiding, "held_out": held_out}
        folding = metrics.evaluate(result.transform, mask=result.pair.fixed_mask).table()["regularity"]
        return {f"dice_{name}": mean(overlaps[label] for label in part) for name, part in values.items()} | {
            "labels": {"guiding": guiding, "held_out": held_out},
            "folding_percent": folding["folding_percent"],
        }

    for guidance, guides in (("none", {}), ("labels", {"guide_labels": halves})):
        yield Run("labels", "brain_mri", guidance, partial(_once, "brain-mri", images, guides), measure)


def landmark_runs(data: Path) -> Iterator[Run]:
    """Yield the registrations of lungs with landmarks of which some are wrong."""
    parts = ("fixed", "moving", "fixed_mask", "moving_mask")
    images = {name: nephi.read_image(data / "lung_ct" / f"{name}.mha") for name in parts}
    pairs = nephi.read_point_pairs(data / "lung_ct" / "landmarks.csv")
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))
    yield from _landmark_runs("lung_ct", images, chosen(pairs, order), len(pairs) // 2)
    for number in SEEDS:
        pair = phantoms.lung_phantom(number, 25.0)
        images = {name: getattr(pair, name) for name in parts}
        yield from _landmark_runs(f"lung_phantom_25mm_{number}", images, pair.landmarks, GUIDING)


def _landmark_runs(name: str, images: Images, pairs: nephi.PointPairs, count: int) -> Iterator[Run]:
    right, held_out = chosen(pairs, slice(count)), chosen(pairs, slice(count, None))
    wrong = with_wrong_pairs(right)

    def measure(results: list[nephi.Registration]) -> Row:
        errors = [nephi.landmark_errors(result.transform, held_out).summary() for result in results]
        means = [each["mean"] for each in errors]
        return {
            "tre_before_mm": errors[0]["before"],
            "tre_mean_mm": mean(means),
            "tre_p90_mm": mean(each["p90"] for each in errors),
            "tre_spread_mm": max(means) - min(means),
        }

    def run(guidance: str, guides: Images, distance: Callable[..., Any] = losses.geman_mcclure) -> Run:
        def register() -> list[nephi.Registration]:
            with patch.object(losses, "geman_mcclure", distance):
                return [registered("lung-ct", images, guides, seed) for seed in SEEDS]

        return Run("landmarks", name, guidance, register, measure)

    yield run("none", {})
    yield run("all right", {"guide_landmarks": right})
    yield run("one in ten wrong", {"guide_landmarks": wrong})
    yield run(LEAST_SQUARES, {"guide_landmarks": wrong}, lambda squares, scale: squares / scale)
    yield run(MEAN_DISTANCE, {"guide_landmarks": wrong}, lambda squares, _: (squares + 1e-6).sqrt())


def channel_runs(data: Path) -> Iterator[Run]:
    """Yield the registrations of shapes by either of two channels, and by both."""
    for seed in SEEDS:
        shapes = phantoms.shapes_phantom(seed)
        one, other = phantoms.two_channels(shapes, STRIPES, seed)
        cases = {"none": [one], "second channel alone": [other], "both channels": [one, other]}

        def measure(results: list[nephi.Registration], pairs: nephi.PointPairs = shapes.landmarks) -> Row:
            errors = nephi.landmark_errors(results[0].transform, pairs).summary()
            return {"tre_before_mm": errors["before"], "tre_mean_mm": errors["mean"], "tre_p90_mm": errors["p90"]}

        for guidance, channels in cases.items():
            images = {name: [getattr(channel, name) for channel in channels] for name in ("fixed", "moving")}
            yield Run("channels", f"shapes_{seed}", guidance, partial(_once, "generic", images, {}), measure)


def chosen(pairs: nephi.PointPairs, rows: Any) -> nephi.PointPairs:
    """Return some of the pairs."""
    return nephi.PointPairs.from_coordinates(pairs.fixed.coordinates[rows], pairs.moving.coordinates[rows])


def with_wrong_pairs(pairs: nephi.PointPairs) -> nephi.PointPairs:
    """Return the pairs with the moving point of every tenth moved by 10 to 40 mm."""
    generator = torch.Generator().manual_seed(0)
    moving = pairs.moving.coordinates.clone()
    count = len(moving[::10])
    directions = torch.randn(count, moving.shape[1], generator=generator, dtype=torch.float64)
    lengths = 10 + 30 * torch.rand(count, 1, generator=generator, dtype=torch.float64)
    moving[::10] += lengths * directions / directions.norm(dim=1, keepdim=True)
    return nephi.PointPairs.from_coordinates(pairs.fixed.coordinates, moving)


def registered(preset: str, images: Images, guides: Images, seed: int = 0) -> nephi.Registration:
    """Register by a preset on the CPU, with one thread."""
    settings = replace(nephi.preset(preset), threads=1)
    return nephi.register(**images, **guides, settings=settings, seed=seed, device="cpu")


def _once(preset: str, images: Images, guides: Images) -> list[nephi.Registration]:
    return [registered(preset, images, guides)]


PARTS: dict[str, Callable[[Path], Iterator[Run]]] = {
    "labels": label_runs,
    "channels": channel_runs,
    "landmarks": landmark_runs,
}


def measured_rows(args: argparse.Namespace) -> list[Row]:
    """Measure the missing runs of the selected parts; return the rows of all measured runs in their order."""
    folder = args.work / "guidance"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for part, runs in PARTS.items():
        for run in runs(args.data):
            path = folder / f"{run.name}.json"
            if part in args.only and (args.fresh or not path.exists()):
                path.write_text(json.dumps(run.row(), indent=1) + "\n", encoding="utf-8")
            if path.exists():
                rows.append(json.loads(path.read_text(encoding="utf-8")))
                print(run.name, {k: round(v, 4) for k, v in rows[-1].items() if isinstance(v, float)}, flush=True)
    return rows


def page(about: Row, rows: list[Row]) -> str:
    """Return the page in Markdown: a table and the targets of each part."""
    lines = ["# Guided registrations", "", *(f"- {name}: {value}" for name, value in about.items()), NOTES]
    for part, verdict in (("labels", label_verdict), ("channels", channel_verdict), ("landmarks", landmark_verdict)):
        own = [row for row in rows if row["part"] == part]
        columns = COLUMNS[part]
        lines += [f"## {part}", "", f"| pair | guidance | {' | '.join(columns.values())} | CPU s |"]
        lines.append("|" + "---|" * (len(columns) + 3))
        for row in own:
            cells = [row["pair"], row["guidance"], *(f"{row.get(name, nan):.4f}" for name in columns)]
            lines.append(f"| {' | '.join(cells)} | {row['cpu_s']:.1f} |".replace("nan", ""))
        lines += (
            ["", verdict({(row["pair"], row["guidance"]): row for row in own}), ""]
            if own
            else ["", "Not measured.", ""]
        )
    return "\n".join(lines).rstrip() + "\n"


def label_verdict(rows: Mapping[tuple[str, str], Row]) -> str:
    """Return whether the target of labels is met."""
    gain = rows["brain_mri", "labels"]["dice_held_out"] - rows["brain_mri", "none"]["dice_held_out"]
    verdict = "met" if gain >= GAIN else "**missed**"
    return f"Target: the labels that did not guide gain {GAIN} Dice: {verdict}, {gain:+.4f}."


def landmark_verdict(rows: Mapping[tuple[str, str], Row]) -> str:
    """Return for how many pairs the targets of landmarks are met."""
    pairs = [pair for pair, guidance in rows if guidance == MEAN_DISTANCE]  # the last run of a pair
    harmless = better = 0
    for pair in pairs:
        guided, none = rows[pair, "one in ten wrong"], rows[pair, "none"]
        spread = max(guided["tre_spread_mm"], none["tre_spread_mm"])
        harmless += guided["tre_mean_mm"] <= none["tre_mean_mm"] + spread
        plain = min(rows[pair, name]["tre_mean_mm"] for name in (LEAST_SQUARES, MEAN_DISTANCE))
        better += guided["tre_mean_mm"] < plain
    return (
        f"Targets: wrong pairs do no harm beyond the spread over seeds: met by {harmless} of {len(pairs)} pairs; "
        f"better than both pulls that are not robust: met by {better} of {len(pairs)}."
    )


def channel_verdict(rows: Mapping[tuple[str, str], Row]) -> str:
    """Return for how many pairs the target of channels is met."""
    pairs = [pair for pair, guidance in rows if guidance == "both channels"]
    met = sum(
        rows[pair, "both channels"]["tre_mean_mm"]
        < min(rows[pair, name]["tre_mean_mm"] for name in ("none", "second channel alone"))
        for pair in pairs
    )
    return f"Target: both channels are better than the better one alone: met by {met} of {len(pairs)} pairs."


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=lambda text: Path(text).resolve())
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS), metavar="A,B", help="parts")
    parser.add_argument("--fresh", action="store_true", help="repeat existing measurements")
    parser.add_argument("--work", type=lambda text: Path(text).resolve(), default=HERE / "work")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results")
    args = parser.parse_args()
    if unknown := set(args.only) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return args


def main() -> None:
    """Measure the missing runs, then write the results."""
    args = arguments()
    rows = measured_rows(args)
    about = machine()
    args.output.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"about": about, "rows": rows}, indent=1) + "\n"
    (args.output / "guidance.json").write_text(content, encoding="utf-8")
    (args.output / "guidance.md").write_text(page(about, rows), encoding="utf-8")


if __name__ == "__main__":
    main()
