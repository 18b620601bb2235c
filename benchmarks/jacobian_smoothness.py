"""Measure how much the Jacobian determinant jumps, and the errors of landmarks, by the interpolation of latent grids.

    python benchmarks/jacobian_smoothness.py DATA [--seeds 3] [--interpolations linear quadratic cubic] [-o FOLDER]

DATA contains `lung_ct/`. The pair, both ways and once more with coarse voxels, and a lung phantom whose Jacobian is
known, are registered in this process with the preset `lung-ct`, for each interpolation with its spacings, step size and
weight of `gradicon`, and every seed. The jump is that of
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
from tempfile import TemporaryDirectory
from typing import Any

import SimpleITK as sitk
import torch
from machine import machine
from torch import Tensor

import nephi
from nephi.geometry import determinant
from nephi.metrics import landmark_errors
from nephi.phantoms import lung_phantom
from nephi.settings import Settings, preset
from nephi.transforms import Transform

# Kinks of linear grids count as changes of J themselves, so that a third of the weight regularizes as much.
GRADICON = {"linear": 0.4, "quadratic": 1.2, "cubic": 1.2}
# A B-spline is below 1 everywhere (quadratic: 0.42 at most in 3-D), so that its values have further to go.
RATE = {"linear": 1.2e-2, "quadratic": 1.6e-2, "cubic": 1.6e-2}
SPACINGS = {
    "linear": (64.0, 32.0, 16.0, 8.0),
    "quadratic": (56.0, 28.0, 14.0, 7.0),
    "cubic": (56.0, 28.0, 14.0, 7.0),
}
COARSE = 4.5  # mm: voxels of a coarse copy of `lung_ct`
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


NAMES = ("fixed", "moving", "fixed_mask", "moving_mask")
EXCHANGED = ("moving", "fixed", "moving_mask", "fixed_mask")


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
    images = {name: nephi.read_image(lung / f"{name}.mha") for name in NAMES}
    landmarks = nephi.read_point_pairs(lung / "landmarks.csv")
    yield Case("lung_ct", images, images["fixed_mask"], landmarks)
    exchanged = {a: images[b] for a, b in zip(NAMES, EXCHANGED, strict=True)}
    yield Case(
        "lung_ct, exchanged",
        exchanged,
        exchanged["fixed_mask"],
        nephi.PointPairs(landmarks.moving, landmarks.fixed),
    )
    coarse = {name: _coarse(lung / f"{name}.mha") for name in NAMES}
    yield Case(f"lung_ct, {COARSE} mm", coarse, images["fixed_mask"], landmarks)
    phantom = lung_phantom(seed=0)
    images = {name: getattr(phantom, name) for name in NAMES}
    yield Case("lung phantom", images, phantom.fixed_mask, phantom.landmarks, phantom.transform)


def _coarse(path: Path) -> Any:
    """Return an image with voxels of `COARSE` mm, smoothed before unless it is a mask."""
    image, is_mask = sitk.ReadImage(str(path)), "mask" in path.name
    edges = [count * spacing for count, spacing in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    shape = [max(1, round(edge / COARSE)) for edge in edges]
    if not is_mask:
        image = sitk.SmoothingRecursiveGaussian(sitk.Cast(image, sitk.sitkFloat32), [0.4 * COARSE] * 3)
    sampler = sitk.ResampleImageFilter()
    sampler.SetOutputOrigin(image.GetOrigin())
    sampler.SetOutputDirection(image.GetDirection())
    sampler.SetSize(shape)
    sampler.SetOutputSpacing([edge / count for edge, count in zip(edges, shape, strict=True)])
    sampler.SetInterpolator(sitk.sitkNearestNeighbor if is_mask else sitk.sitkLinear)
    sampler.SetDefaultPixelValue(0 if is_mask else -1000)
    with TemporaryDirectory() as folder:
        coarse = Path(folder) / path.name
        sitk.WriteImage(sampler.Execute(image), coarse)
        return nephi.read_image(coarse)


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
            optimization = replace(base.optimization, rate=RATE[interpolation])
            settings = replace(base, field=field, objective=objective, optimization=optimization)
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
