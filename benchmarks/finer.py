"""Measure how much fine detail `generic` and `generic-best` register, beside greedy.

    python benchmarks/finer.py [DATA] [--pairs NAME ...] [--seeds 2] [--without-greedy] [-o FOLDER]

Pairs are phantoms with ribbons two voxels thick (`nephi.phantoms.ribbon_phantom`, one for each seed), in 2-D and 3-D,
other phantoms, and with DATA, which contains `brain_mri/`, that pair with voxels of 2 mm: a small brain. Local
correlation is the mean over the mask (without one: the voxels of the fixed image above its minimum) of the correlation
of warped and fixed image in windows of 5^D voxels. It also rewards noise that is aligned: `truth` is its value for the
phantom's true transform. Errors are means over landmarks, Dice over labels. CPU time is that of the registration in
memory, for greedy of the whole process. Writes `finer.md` and `.json`; rows of earlier runs that are not measured again
stay.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import mean
from typing import Any

import torch
from machine import machine
from methods import ENVIRONMENTS
from torch import Tensor
from torch.nn.functional import avg_pool2d, avg_pool3d

import nephi
from nephi.geometry import Grid, PointPairs, determinant
from nephi.images import ImageSampler
from nephi.images.pyramid import downsampled
from nephi.io import write_image
from nephi.metrics import dice, landmark_errors
from nephi.phantoms import PhantomPair, ribbon_phantom, shapes_phantom, sliding_phantom
from nephi.settings import preset
from nephi.transforms import Transform

HERE = Path(__file__).parent
PRESETS = ("generic", "generic-best")
PHANTOMS: dict[str, Callable[[int], PhantomPair]] = {
    "ribbons, 128 x 128": lambda seed: ribbon_phantom(seed, 128, 1.0, 2),
    "ribbons, 256 x 256": lambda seed: ribbon_phantom(seed, 256, 1.0, 2),
    "ribbons, 64 cubed": lambda seed: ribbon_phantom(seed, 64, 1.0, 3),
    "shapes, 2-D": shapes_phantom,
    "sliding": sliding_phantom,
}
BRAIN = "brain_mri, 2 mm"
COLUMNS = {"error_mm": "error mm", "dice": "Dice", "correlation": "local correlation"}
COLUMNS |= {"folding_percent": "det J <= 0 %", "cpu_s": "CPU s"}
RADIUS = 2  # voxels, of the windows of the local correlation


@dataclass(frozen=True)
class Case:
    """A pair of images and what is known of it."""

    fixed: nephi.Image
    moving: nephi.Image
    mask: Tensor
    landmarks: PointPairs | None = None
    labels: tuple[nephi.Image, nephi.Image] | None = None
    transform: Transform | None = None


def phantom_case(phantom: PhantomPair) -> Case:
    """Return the case of a phantom."""
    mask = phantom.fixed_mask.data > 0
    return Case(phantom.fixed, phantom.moving, mask, phantom.landmarks, transform=phantom.transform)


def brain_case(folder: Path) -> Case:
    """Return the pair of brains with voxels of 2 mm; of the fixed labels every second voxel."""
    images = [downsampled(nephi.read_image(folder / f"{name}.nii.gz"), 2.0)[0] for name in ("fixed", "moving")]
    fixed, moving = (nephi.read_image(folder / f"{name}_labels.nii.gz") for name in ("fixed", "moving"))
    affine = fixed.grid.affine.clone()
    affine[:-1, :-1] *= 2
    every_second = fixed.data[::2, ::2, ::2].contiguous()
    labels = nephi.Image(every_second, Grid(tuple(every_second.shape), affine)), moving
    return Case(images[0], images[1], images[0].data > images[0].data.amin(), labels=labels)


@torch.no_grad()
def scores(transform: Transform, case: Case) -> dict[str, float]:
    """Return the error at landmarks or the Dice of labels, the local correlation and the folds of a transform."""
    points = case.fixed.grid.voxel_centres().reshape(-1, case.fixed.dimension)
    sampler, warped, folded = ImageSampler(case.moving), [], []
    for part in points.split(50_000):
        moved, jacobians = transform.value_and_jacobian(part)
        warped.append(sampler(moved))
        folded.append(determinant(jacobians) <= 0)
    values = torch.cat(warped).reshape(case.fixed.grid.shape)
    row = {"correlation": local_correlation(case.fixed.data, values, case.mask)}
    row["folding_percent"] = 100 * float(torch.cat(folded).double().mean())
    if case.landmarks is not None:
        row["error_mm"] = float(landmark_errors(transform, case.landmarks).after.mean())
    if case.labels is not None:
        row["dice"] = mean(dice(*case.labels, transform).values())
    return row


def local_correlation(first: Tensor, second: Tensor, mask: Tensor) -> float:
    """Return the mean over a mask of the correlation of two images in windows of `2 RADIUS + 1` voxels an axis."""
    images = [(image.double() - image.double().mean()) / image.double().std() for image in (first, second)]
    pool = avg_pool2d if first.ndim == 2 else avg_pool3d

    def means(image: Tensor) -> Tensor:
        return pool(image[None, None], 2 * RADIUS + 1, 1, padding=RADIUS, count_include_pad=False)[0, 0]

    centres = [means(image) for image in images]
    variances = [means(image**2) - centre**2 for image, centre in zip(images, centres, strict=True)]
    covariance = means(images[0] * images[1]) - centres[0] * centres[1]
    return float((covariance / (variances[0] * variances[1]).clamp_min(1e-9).sqrt())[mask].mean())


def run_greedy(case: Case) -> tuple[Transform, float]:
    """Register with greedy, without masks; return the transform and the CPU time of its process."""
    python = ENVIRONMENTS / "greedy" / "bin" / "python"
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / f"{part}.nii.gz" for part in ("fixed", "moving", "field")]
        for image, path in zip((case.fixed, case.moving), paths, strict=False):
            write_image(image, path)
        before = getrusage(RUSAGE_CHILDREN)
        interpreter = python if python.is_file() else sys.executable
        command = [interpreter, HERE / "peers" / "run_greedy.py", paths[0], paths[1], "none", "none", paths[2]]
        subprocess.run(command, check=True, capture_output=True)
        after = getrusage(RUSAGE_CHILDREN)
        transform = nephi.read_transform(paths[2])
    return transform, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run_preset(case: Case, name: str, seed: int) -> tuple[Transform, float]:
    """Register with a preset on one thread; return the transform and the CPU time."""
    start = time.process_time()
    settings = replace(preset(name), threads=1)
    result = nephi.register(case.fixed, case.moving, settings=settings, seed=seed)
    return result.transform, time.process_time() - start


def measure(case: Case, method: str, seed: int) -> dict[str, float]:
    """Register a case with a preset or `greedy`, or score its true transform (`truth`); return the columns of a row."""
    if method == "truth":
        assert case.transform is not None
        return scores(case.transform, case)
    transform, seconds = run_greedy(case) if method == "greedy" else run_preset(case, method, seed)
    return scores(transform, case) | {"cpu_s": seconds}


def table(rows: list[dict[str, Any]], about: dict[str, Any]) -> str:
    """Return the page."""
    lines = ["# Fine detail", "", *(f"- {key}: {value}" for key, value in about.items()), ""]
    lines += ["| pair | method | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for row in rows:
        cells = (f"{row[key]:.3g}" if key in row else "" for key in COLUMNS)
        correlation = f"{row['correlation']:.4f}"
        cells = (correlation if key == "correlation" else cell for key, cell in zip(COLUMNS, cells, strict=True))
        lines.append(f"| {row['pair']} | {row['method']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure all rows and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--pairs", nargs="+", choices=[*PHANTOMS, BRAIN])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--without-greedy", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results")
    args = parser.parse_args()
    names = args.pairs or [*PHANTOMS, *([BRAIN] if args.data else [])]
    has_greedy = find_spec("picsl_greedy") or (ENVIRONMENTS / "greedy").is_dir()
    methods = [*PRESETS, *(["greedy"] if has_greedy and not args.without_greedy else [])]
    target = args.output / "finer.json"
    earlier = json.loads(target.read_text(encoding="utf-8"))["rows"] if target.is_file() else []
    rows = {(row["pair"], row["method"]): row for row in earlier}
    for name in names:
        found: dict[str, list[dict[str, float]]] = {}
        for seed in range(args.seeds):
            case = brain_case(args.data / "brain_mri") if name == BRAIN else phantom_case(PHANTOMS[name](seed))
            for method in [*methods, *(["truth"] if case.transform is not None else [])]:
                if method == "greedy" and name == BRAIN and seed:
                    continue  # it has no seed
                found.setdefault(method, []).append(measure(case, method, seed))
                print(name, method, seed, {k: round(v, 4) for k, v in found[method][-1].items()}, flush=True)
        for method, measured in found.items():
            means = {key: mean(row[key] for row in measured) for key in COLUMNS if key in measured[0]}
            rows[name, method] = {"pair": name, "method": method, "registrations": len(measured)} | means
    about = machine() | {"command": "python benchmarks/finer.py DATA"}
    args.output.mkdir(parents=True, exist_ok=True)
    ordered = sorted(rows.values(), key=lambda row: [*PHANTOMS, BRAIN].index(row["pair"]))
    target.write_text(json.dumps({"about": about, "rows": ordered}, indent=2) + "\n", encoding="utf-8")
    target.with_suffix(".md").write_text(table(ordered, about), encoding="utf-8")


if __name__ == "__main__":
    main()
