"""Measure how much the Jacobian determinant jumps, and the errors of landmarks, by the interpolation of latent grids.

    python benchmarks/jacobian_smoothness.py DATA [--seeds 3] [--interpolations linear quadratic cubic] [-o FOLDER]

DATA contains `lung_ct/`. The pair, and a lung phantom whose Jacobian is known, are registered in this process with the
preset `lung-ct`, for each interpolation with its spacings and weight of `gradicon`, and every seed. The jump is that of
det J from random points in the mask to points 0.5 mm from them, in random directions: derivatives of linear features
jump at nodes. Writes `jacobian_smoothness.md` and `.json`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from machine import machine
from torch import Tensor

import nephi
from nephi.geometry import determinant
from nephi.metrics import landmark_errors
from nephi.phantoms import lung_phantom
from nephi.settings import Settings, preset
from nephi.transforms import Transform

# Splines approximate smooth maps without a coarsest grid.
# Kinks of linear grids count as changes of J themselves, so that a third of the weight regularizes as much.
GRADICON = {"linear": 0.4, "quadratic": 1.2, "cubic": 1.2}
SPACINGS = {"linear": (64.0, 32.0, 16.0, 8.0), "quadratic": (28.0, 14.0, 7.0), "cubic": (28.0, 14.0, 7.0)}
STEP = 0.5  # mm
PROBES = 200_000
COLUMNS = {
    "jump_p99": "jump of det J, 99th percentile",
    "jump_median": "median",
    "jacobian_error": "error of det J (RMS)",
    "tre_mean_mm": "TRE mean mm",
    "tre_p90_mm": "p90",
    "sd_log_jacobian": "SD log det J",
    "fit_cpu_s": "affine and fit CPU s",
    "transform_kb": ".nephi kB",
}


@dataclass(frozen=True)
class Case:
    """A pair of images with masks and landmarks, and the true transform of a phantom."""

    name: str
    images: dict[str, Any]
    mask: nephi.Image
    landmarks: Any
    truth: Transform | None = None


def cases(data: Path) -> Iterator[Case]:
    """Yield the pairs."""
    lung = data / "lung_ct"
    images = {name: str(lung / f"{name}.mha") for name in ("fixed", "moving", "fixed_mask", "moving_mask")}
    landmarks = nephi.read_point_pairs(lung / "landmarks.csv")
    yield Case("lung_ct", images, nephi.read_image(images["fixed_mask"]), landmarks)
    phantom = lung_phantom(seed=0)
    images = {name: getattr(phantom, name) for name in ("fixed", "moving", "fixed_mask", "moving_mask")}
    yield Case("lung phantom", images, phantom.fixed_mask, phantom.landmarks, phantom.transform)


def probes(mask: nephi.Image, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return random points `(PROBES, D)` within voxels of the mask, and the points `STEP` mm from them."""
    generator = torch.Generator().manual_seed(seed)
    voxels = (mask.data > 0).nonzero()
    chosen = voxels[torch.randint(len(voxels), (PROBES,), generator=generator)].double()
    jitter = torch.rand(chosen.shape, generator=generator, dtype=torch.float64) - 0.5
    points = mask.grid.voxel_to_world_points(chosen + jitter)
    direction = torch.randn(points.shape, generator=generator, dtype=torch.float64)
    return points, points + STEP * direction / direction.norm(dim=-1, keepdim=True)


def jacobian_measures(transform: Transform, points: Tensor, beside: Tensor) -> dict[str, Any]:
    """Return the jumps of det J from points to those beside them, and its spread."""
    one, other = (determinant(transform.value_and_jacobian(each)[1]) for each in (points, beside))
    jumps = (one - other).abs()
    return {
        "jump_p99": float(jumps.quantile(0.99)),
        "jump_median": float(jumps.median()),
        "sd_log_jacobian": float(one.clamp_min(1e-3).log().std()),
        "smallest": float(one.min()),
    }


def measure(case: Case, settings: Settings, seed: int) -> dict[str, Any]:
    """Register one pair and return its row."""
    result = nephi.register(**case.images, settings=settings, seed=seed)
    points, beside = probes(case.mask)
    errors = landmark_errors(result.transform, case.landmarks).summary()
    row: dict[str, Any] = {
        "pair": case.name,
        "interpolation": settings.field.interpolation,
        "spacings": settings.field.spacings,
        "seed": seed,
        **{f"tre_{name}_mm": errors[name] for name in ("mean", "median", "p90", "max")},
        "fit_cpu_s": sum(result.usage.stages[name]["cpu_s"] for name in ("affine", "fit")),
        "transform_kb": len(nephi.fields.nephi_bytes(result.stored)) / 1e3,
        **jacobian_measures(result.transform, points, beside),
    }
    if case.truth is not None:
        true, found = (determinant(phi.value_and_jacobian(points)[1]) for phi in (case.truth, result.transform))
        row["jacobian_error"] = float((found - true).square().mean().sqrt())
        row["true_jump_p99"] = jacobian_measures(case.truth, points, beside)["jump_p99"]
    return row


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the means over the seeds as a table, pair by pair."""
    titles = ["pair", "interpolation", "spacings mm", *COLUMNS.values()]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for pair, interpolation in dict.fromkeys((row["pair"], row["interpolation"]) for row in rows):
        some = [row for row in rows if (row["pair"], row["interpolation"]) == (pair, interpolation)]
        numbers = [f"{mean(row[key] for row in some):.3f}" if key in some[0] else "" for key in COLUMNS]
        spacings = ", ".join(f"{spacing:g}" for spacing in some[0]["spacings"])
        lines.append(f"| {' | '.join([pair, interpolation, spacings, *numbers])} |")
    return "\n".join(lines)


def main() -> None:
    """Register the pairs and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--interpolations", nargs="+", choices=list(SPACINGS), default=list(SPACINGS))
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    base, rows = preset("lung-ct"), []
    for case in cases(options.data):
        for interpolation in options.interpolations:
            field = replace(base.field, interpolation=interpolation, spacings=SPACINGS[interpolation])
            objective = replace(base.objective, gradicon=GRADICON[interpolation])
            settings = replace(base, field=field, objective=objective)
            rows += [measure(case, settings, seed) for seed in range(options.seeds)]
            print(json.dumps(rows[-1]), flush=True)
    facts = machine()
    true = [row["true_jump_p99"] for row in rows if "true_jump_p99" in row]
    text = [
        "# Jumps of the Jacobian determinant",
        "",
        f"Means over {options.seeds} seeds, preset `lung-ct`; jumps over {STEP} mm at {PROBES:,} points in the mask.",
        *([f"The true jump (99th percentile) of the phantom is {true[0]:.3f}."] if true else []),
        "",
        table(rows),
        "",
        *(f"* {name}: {value}" for name, value in facts.items()),
        "",
    ]
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "jacobian_smoothness.md").write_text("\n".join(text), encoding="utf-8")
    content = json.dumps({**facts, "rows": rows}, indent=1)
    (options.output / "jacobian_smoothness.json").write_text(content + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
