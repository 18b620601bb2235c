"""Measure how well organs that slide along walls are registered, without masks.

    python benchmarks/sliding.py DATA [--seeds 3] [-o FOLDER]

DATA contains `liver_mr/`: two phases of breathing, with landmarks in the liver and outside it, in walls, spine and
skin. Phantoms are two textured halves, of which one slides along the other by 20 mm (`nephi.phantoms.sliding_phantom`,
a phantom for each seed). Each pair is registered in this process by the presets `generic`, `generic` without an affine
map, and `breathing`; the errors are means over landmarks and seeds, mm. Writes `sliding.md` and `.json`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from machine import machine
from pairs import organ_and_wall

import nephi
from nephi.geometry import PointPairs, determinant
from nephi.metrics import landmark_errors
from nephi.phantoms import sliding_phantom
from nephi.settings import Settings, preset

HERE = Path(__file__).parent
COLUMNS = {"moving_mm": "organ mm", "largest_moving_mm": "largest", "still_mm": "walls mm"}
COLUMNS |= {"largest_still_mm": "largest", "folding_percent": "det J <= 0 %", "cpu_s": "CPU s"}
STRIDE = 2  # voxels, of the points at which folds are counted


def variants() -> dict[str, Settings]:
    """Return the settings to compare, by name."""
    generic = replace(preset("generic"), threads=1)
    still = replace(generic, affine=replace(generic.affine, kind="none", initial="none"))
    return {
        "generic": generic,
        "generic, no affine map": still,
        "breathing": replace(preset("breathing"), threads=1),
    }


def pairs(data: Path, seed: int) -> Iterator[tuple[str, Any, Any, Mapping[str, PointPairs]]]:
    """Yield name, fixed and moving image, and the landmarks of the moving organ and of what is still."""
    liver = data / "liver_mr"
    landmarks = {
        part: nephi.read_point_pairs(liver / f"landmarks_{name}.csv")
        for part, name in (("moving", "liver"), ("still", "outside"))
    }
    yield "liver_mr", *(nephi.read_image(liver / f"{name}.nii.gz") for name in ("fixed", "moving")), landmarks
    phantom = sliding_phantom(seed)
    landmarks = dict(zip(("moving", "still"), organ_and_wall(phantom), strict=True))
    yield "phantoms", phantom.fixed, phantom.moving, landmarks


def measure(
    fixed: nephi.Image, moving: nephi.Image, landmarks: Mapping[str, PointPairs], settings: Settings, seed: int
) -> dict[str, float]:
    """Register a pair; return the columns of a row."""
    start = time.process_time()
    transform = nephi.register(fixed, moving, settings=settings, seed=seed).transform
    row = {"cpu_s": time.process_time() - start}
    for part, points in landmarks.items():
        errors = landmark_errors(transform, points).after
        row |= {f"{part}_mm": float(errors.mean()), f"largest_{part}_mm": float(errors.max())}
    points = fixed.grid.voxel_centres()[(slice(None, None, STRIDE),) * fixed.dimension].reshape(-1, fixed.dimension)
    with torch.no_grad():
        determinants = torch.cat([determinant(transform.value_and_jacobian(p)[1]) for p in points.split(50_000)])
    return row | {"folding_percent": 100 * float((determinants <= 0).double().mean())}


def main() -> None:
    """Measure all rows and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results")
    args = parser.parse_args()
    measured: dict[tuple[str, str], list[dict[str, float]]] = {}
    for seed in range(args.seeds):
        for name, fixed, moving, landmarks in pairs(args.data, seed):
            for variant, settings in variants().items():
                row = measure(fixed, moving, landmarks, settings, seed)
                measured.setdefault((name, variant), []).append(row)
                print(name, variant, seed, {k: round(v, 3) for k, v in row.items()}, flush=True)
    rows = [
        {"pair": name, "settings": variant} | {key: mean(row[key] for row in found) for key in COLUMNS}
        for (name, variant), found in sorted(measured.items())
    ]
    about = machine() | {"command": f"python benchmarks/sliding.py DATA --seeds {args.seeds}"}
    args.output.mkdir(parents=True, exist_ok=True)
    target = args.output / "sliding.json"
    target.write_text(json.dumps({"about": about, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    lines = ["# Organs that slide along walls", "", *(f"- {key}: {value}" for key, value in about.items()), ""]
    lines += ["| pair | settings | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for row in rows:
        lines.append(f"| {row['pair']} | {row['settings']} | " + " | ".join(f"{row[k]:.3g}" for k in COLUMNS) + " |")
    target.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
