"""Measure how well large local motion is registered without masks: chest CTs that moved everywhere, at random.

    python benchmarks/local_motion.py DATA [--seeds 5] [--convexadam PYTHON] [-o FOLDER]

Phantoms are those of `nephi.phantoms.local_motion_phantom`. `lung_ct` is the moving image of `DATA/lung_ct`, seen
through a motion of the same kind: the fixed image is interpolated from it, with noise of 20 HU, and landmarks are 400
random points in the body with their exact partners. Motions are of at most 20 mm at wavelengths of 60 to 80 mm.
Each pair is registered in this process by the preset `ct`, and with less weight for patches of low contrast
(`objective.variance_floor = 0.056`, the default of other presets). ConvexAdam runs in the interpreter of `python
benchmarks/peers/install.py convexadam`, or in another one that has it; without it its rows are missing. Errors are
means over landmarks, mm. Writes `local_motion.md` and `.json`.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from machine import machine
from methods import ENVIRONMENTS, HERE

import nephi
from nephi.geometry import PointPairs, interpolate
from nephi.metrics import landmark_errors
from nephi.phantoms import local_motion_phantom
from nephi.phantoms.local import NOISE, random_motion
from nephi.phantoms.pair import landmarks_in, render
from nephi.settings import Settings, preset

MOTION, WAVELENGTH, LANDMARKS = 20.0, 70.0, 400
TISSUE = -500.0  # HU: above it lies the body, below it air
BODY_FRACTION = 0.3  # of the 9^3 voxels around a landmark that are tissue; lungs have vessels and walls
COLUMNS = {"before_mm": "before, mm", "tre_mm": "mean TRE, mm", "p90_mm": "90th percentile", "cpu_s": "CPU s"}


def variants() -> dict[str, Settings]:
    """Return the settings to compare, by name."""
    ct = replace(preset("ct"), threads=1)
    return {"ct": ct, "ct, variance_floor = 0.056": replace(ct, objective=replace(ct.objective, variance_floor=0.056))}


def moved_ct(data: Path, seed: int) -> tuple[nephi.Image, nephi.Image, PointPairs]:
    """Return a real CT as the moving image, the same seen through a random motion, and landmarks."""
    moving = nephi.read_image(data / "lung_ct" / "moving.mha")
    generator = torch.Generator().manual_seed(seed)
    grid, values = moving.grid, moving.data.float()
    transform = random_motion(grid, MOTION, WAVELENGTH, generator)

    def intensity(points: torch.Tensor) -> torch.Tensor:
        return interpolate(values, grid.world_to_voxel_points(transform(points)))

    fixed = render(grid, intensity, NOISE, generator, "fixed")
    partners = transform(grid.voxel_centres().reshape(-1, 3))
    inside = grid.contains_voxel_points(grid.world_to_voxel_points(partners)).view(grid.shape)
    tissue = torch.nn.functional.avg_pool3d((fixed.data > TISSUE).float()[None, None], 9, stride=1, padding=4)[0, 0]
    mask = nephi.Image((inside & (tissue > BODY_FRACTION)).to(torch.uint8), grid, name="body")
    return fixed, moving, landmarks_in(mask, transform, LANDMARKS, generator)


def pairs(data: Path, seed: int) -> dict[str, tuple[nephi.Image, nephi.Image, PointPairs]]:
    """Return the two pairs of a seed, by name."""
    phantom = local_motion_phantom(seed, MOTION, WAVELENGTH)
    return {"phantom": (phantom.fixed, phantom.moving, phantom.landmarks), "lung_ct": moved_ct(data, seed)}


def register(fixed: nephi.Image, moving: nephi.Image, settings: Settings) -> tuple[Any, float]:
    """Return the transform of nephi, and its CPU seconds."""
    start = time.process_time()
    return nephi.register(fixed, moving, settings=settings).transform, time.process_time() - start


def convexadam(python: Path, fixed: nephi.Image, moving: nephi.Image) -> tuple[Any, float]:
    """Return the displacement field of ConvexAdam, and the CPU seconds of its process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, image in (("fixed", fixed), ("moving", moving)):
            nephi.write_image(image, folder / f"{part}.nii.gz")
        field = folder / "field.nii.gz"
        command = [python, HERE / "peers" / "run_convexadam.py", folder / "fixed.nii.gz", folder / "moving.nii.gz"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*command, "none", "none", field, "--threads", "1"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return nephi.read_transform(field), seconds


def row(transform: Any, seconds: float, landmarks: PointPairs) -> dict[str, float]:
    """Return the columns of a result."""
    errors = landmark_errors(transform, landmarks)
    return {
        "before_mm": float(errors.before.mean()),
        "tre_mm": float(errors.after.mean()),
        "p90_mm": float(errors.after.quantile(0.9)),
        "cpu_s": seconds,
    }


def main() -> None:
    """Measure all rows and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--convexadam", type=Path, default=ENVIRONMENTS / "convexadam" / "bin" / "python")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results")
    args = parser.parse_args()
    measured: dict[tuple[str, str], list[dict[str, float]]] = {}
    for seed in range(args.seeds):
        for name, (fixed, moving, landmarks) in pairs(args.data, seed).items():
            results = {variant: register(fixed, moving, settings) for variant, settings in variants().items()}
            if args.convexadam.is_file():
                results["ConvexAdam"] = convexadam(args.convexadam, fixed, moving)
            for variant, (transform, seconds) in results.items():
                measured.setdefault((name, variant), []).append(row(transform, seconds, landmarks))
                print(name, seed, variant, {k: round(v, 2) for k, v in measured[name, variant][-1].items()}, flush=True)
    write(measured, args)


def write(measured: dict[tuple[str, str], list[dict[str, float]]], args: argparse.Namespace) -> None:
    """Write the table, and the rows of all seeds."""
    about = machine() | {"command": f"python benchmarks/local_motion.py DATA --seeds {args.seeds}"}
    if not args.convexadam.is_file():
        about["ConvexAdam"] = "not installed (python benchmarks/peers/install.py convexadam)"
    args.output.mkdir(parents=True, exist_ok=True)
    target = args.output / "local_motion.json"
    listed = [{"pair": pair, "settings": name, "seeds": found} for (pair, name), found in sorted(measured.items())]
    target.write_text(json.dumps({"about": about, "rows": listed}, indent=2) + "\n", encoding="utf-8")
    lines = ["# Large local motion without masks", "", *(f"- {key}: {value}" for key, value in about.items()), ""]
    lines += ["| pair | settings | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for found in listed:
        means = [mean(seed.get(column, math.nan) for seed in found["seeds"]) for column in COLUMNS]
        lines.append(f"| {found['pair']} | {found['settings']} | " + " | ".join(f"{v:.3g}" for v in means) + " |")
    target.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
