"""Train KeyMorph and a displacement U-Net on rotations of 0 to 180 degrees, and measure the error of the angle.

    python benchmarks/family_keymorph.py [--dimension 2] [--minutes 3] [--unet-minutes 3] [-o FOLDER]

Every pair shows one body without symmetry (`nephi.phantoms.Bodies`) in two poses, each in one of two contrasts: turned
by a uniform angle about a uniform axis, and shifted. The loss is the distance of known corresponding points in the
body; in the first half of its training KeyMorph's keypoints are compared with as many points of the body instead, its
published pre-training. Tested on unseen bodies: the rotation that fits the predicted positions of the body's points
best, against the true one. Minutes are CPU time. Writes `family_keymorph.md`, `.json`, `.png`; for 3-D
`family_keymorph_3d.*`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from machine import machine
from torch import Tensor

from nephi.geometry import Grid
from nephi.models import (
    DisplacementUNetSettings,
    KeyMorphSettings,
    RegistrationModel,
    asymmetry,
    build_model,
)
from nephi.objective import LandmarkPoints, keypoint_distance, landmark_distance
from nephi.phantoms import Bodies
from nephi.transforms import AffineMaps, rigid_fit

HERE = Path(__file__).parent
SHAPES = {2: (64, 64), 3: (48, 48, 48)}
EXTENT = 128.0  # mm, of each edge of the box
SIZE, SHIFT = 42.0, 8.0  # mm: half the length of a body, largest shift
NOISE = 0.02
PRETRAINING = 0.5  # fraction of KeyMorph's time
POINTS = 64  # of a body, per pair and step
BATCH = {2: 16, 3: 3}
RATE = {"keymorph": 5e-3, "unet": 2e-3}
KEYMORPH = {
    2: KeyMorphSettings(32, (8, 16, 16, 32, 32, 64), align="rigid"),
    3: KeyMorphSettings(32, (4, 8, 16, 16, 32, 32), align="rigid"),
}
UNET = {2: DisplacementUNetSettings((16, 32, 32, 64, 64)), 3: DisplacementUNetSettings((8, 16, 32, 32))}
ALIGNMENTS = ("rigid", "similarity", "affine", "halfway", "tps:1", "tps:0.1")
TEST_PAIRS = {2: 480, 3: 160}
BINS = (0, 30, 60, 90, 120, 150, 180)  # degrees


@dataclass(frozen=True, eq=False)
class Pairs:
    """Images `(B, 1, *shape)` of B pairs, points of the bodies in both `(B, N, D)`, mm, and the true rotations."""

    fixed: Tensor
    moving: Tensor
    fixed_points: Tensor
    moving_points: Tensor
    rotations: Tensor
    angles: Tensor
    contrasts: Tensor  # (B, 2)
    poses: Tensor  # (2, B, D, D), from the frames of the bodies to both images
    shifts: Tensor  # (2, B, 1, D)


def box(dimension: int) -> Grid:
    """Return the grid of the images, centred on the origin."""
    spacing = EXTENT / SHAPES[dimension][0]
    first = [-0.5 * (n - 1) * spacing for n in SHAPES[dimension]]
    return Grid.from_spacing(SHAPES[dimension], [spacing] * dimension, first)


def rotations(count: int, dimension: int, largest: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw rotations by angles of 0 to `largest` degrees about uniform axes; return them and the angles in degrees."""
    axes = torch.randn(count, dimension * (dimension - 1) // 2, generator=generator, dtype=torch.float64)
    angles = largest * torch.rand(count, generator=generator, dtype=torch.float64)
    vectors = axes / axes.norm(dim=1, keepdim=True) * torch.deg2rad(angles)[:, None]
    zero = torch.zeros(count, dtype=torch.float64)
    a, b, c = (zero, zero, vectors[:, 0]) if dimension == 2 else vectors.unbind(dim=1)
    rows = [torch.stack(row, dim=1) for row in ((zero, -c, b), (c, zero, -a), (-b, a, zero))]
    matrices = torch.linalg.matrix_exp(torch.stack(rows, dim=1))[:, :dimension, :dimension]
    return matrices.float(), angles.float()


def draw_pairs(count: int, dimension: int, largest: float, generator: torch.Generator) -> Pairs:
    """Draw pairs of images of the same body, whose relative rotation is up to `largest` degrees."""
    bodies = Bodies.random(count, dimension, SIZE, generator)
    contrasts = torch.randint(2, (count, 2), generator=generator)
    first, _ = rotations(count, dimension, 180.0, generator)
    relative, angles = rotations(count, dimension, largest, generator)
    shifts = SHIFT * (2 * torch.rand(2, count, 1, dimension, generator=generator, dtype=torch.float32) - 1)
    centres = box(dimension).voxel_centres().reshape(1, -1, dimension)
    local = _points_of(bodies, dimension, generator)
    images, points = [], []
    for k, pose in enumerate((first, relative @ first)):
        values = bodies.intensities((centres - shifts[k]) @ pose, contrasts[:, k])
        values = values + NOISE * torch.randn(values.shape, generator=generator, dtype=torch.float32)
        images.append(values.reshape(count, 1, *SHAPES[dimension]))
        points.append(local @ pose.transpose(-1, -2) + shifts[k])
    return Pairs(*images, *points, relative, angles, contrasts, torch.stack([first, relative @ first]), shifts)


def _points_of(bodies: Bodies, dimension: int, generator: torch.Generator) -> Tensor:
    """Return points `(N, POINTS, D)` of the trunks, in the frames of the bodies."""
    directions = torch.randn(len(bodies.centres), POINTS, dimension, generator=generator, dtype=torch.float32)
    radii = torch.rand(len(bodies.centres), POINTS, 1, generator=generator, dtype=torch.float32) ** (1 / dimension)
    return bodies.centres[:, :1] + bodies.half_axes[:, :1] * radii * directions / directions.norm(dim=-1, keepdim=True)


def train(model: RegistrationModel[Any], dimension: int, minutes: float) -> dict[str, float]:
    """Train for some minutes of CPU time; return the number of steps and the last loss."""
    rate = RATE[model.settings.kind]
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(1)
    anatomy = _anatomical_points(dimension, generator)
    start, step, mean = time.process_time(), 0, 0.0
    while (fraction := (time.process_time() - start) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * fraction))
        pairs = draw_pairs(BATCH[dimension], dimension, 180.0, generator)
        loss = None if fraction > PRETRAINING else pretraining_loss(model, pairs, anatomy)
        if loss is None:
            landmarks = LandmarkPoints(pairs.fixed_points, pairs.moving_points)
            loss = landmark_distance(model(pairs.fixed, pairs.moving), landmarks)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        step += 1
        mean += (loss.item() - mean) / min(step, 50)
        if step % 50 == 0:
            print(f"{step} steps, {100 * fraction:.0f} %, loss {mean:.2f} mm", flush=True)
    return {"steps": step, "loss_mm": mean}


def pretraining_loss(model: RegistrationModel[Any], pairs: Pairs, anatomy: Tensor) -> Tensor | None:
    """Return the mean distance, mm, of keypoints from points `anatomy` of the bodies; None for other models."""
    keypoints = model.keypoints(torch.cat([pairs.fixed, pairs.moving]))
    if keypoints is None:
        return None
    expected = anatomy[: keypoints.points.shape[1]] @ pairs.poses.transpose(-1, -2) + pairs.shifts
    return keypoint_distance(keypoints.points, expected.flatten(0, 1), model.grid)


def _anatomical_points(dimension: int, generator: torch.Generator) -> Tensor:
    """Return points `(POINTS, D)`, mm, in the trunk of an average body."""
    return _points_of(Bodies.random(1, dimension, SIZE, generator), dimension, generator)[0]


def angle_errors(maps: dict[str, AffineMaps], pairs: Pairs) -> dict[str, Tensor]:
    """Return the angles, degrees, between predicted and true rotations."""
    errors = {}
    for name, rigid in maps.items():
        difference = rigid.matrices.double() @ pairs.rotations.double().transpose(-1, -2)
        trace = difference.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
        cosine = trace / 2 if difference.shape[-1] == 2 else (trace - 1) / 2
        errors[name] = torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))
    return errors


@torch.no_grad()
def test(model: RegistrationModel[Any], dimension: int) -> dict[str, Any]:
    """Return the errors of a trained model for unseen bodies, by alignment and by angle."""
    generator, rows = torch.Generator().manual_seed(2), []
    model.eval()
    for _ in range(TEST_PAIRS[dimension] // 16):
        rows.append(_test_rows(model, draw_pairs(16, dimension, 180.0, generator)))
    values = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
    angles, crossed = values.pop("angle"), values.pop("crossed") > 0
    main = values[next(name for name in values if name.endswith("degrees"))]
    bins = [(angles >= low) & (angles < high) for low, high in itertools.pairwise(BINS)]
    return {
        "angle_error": float(main.mean()),
        "angle_error_median": float(main.median()),
        "angle_error_same_contrast": float(main[~crossed].mean()),
        "angle_error_two_contrasts": float(main[crossed].mean()),
        "angle_error_largest": float(main.max()),
        "angle_error_by_angle": [float(main[chosen].mean()) for chosen in bins],
        **{name: float(column.mean()) for name, column in values.items()},
        "scatter": {"angle": _rounded(angles), "error": _rounded(main)},
    }


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 2) for value in values.tolist()]


def _test_rows(model: RegistrationModel[Any], pairs: Pairs) -> dict[str, Tensor]:
    columns = {"angle": pairs.angles, "crossed": (pairs.contrasts[:, 0] != pairs.contrasts[:, 1]).float()}
    fixed, moving = model.keypoints(pairs.fixed), model.keypoints(pairs.moving)
    if fixed is None or moving is None:
        maps = {"displacement": model(pairs.fixed, pairs.moving)}
    else:
        maps = model.keypoint_alignments(fixed, moving, ALIGNMENTS)
        exchanged = model.keypoint_alignments(moving, fixed, ALIGNMENTS)
        for name in ALIGNMENTS:
            columns[f"{name}, asymmetry mm"] = asymmetry(maps[name].forward, exchanged[name].forward, model.grid)
    positions = {name: pair.forward(pairs.fixed_points) for name, pair in maps.items()}
    rotations = {name: rigid_fit(pairs.fixed_points, points) for name, points in positions.items()}
    for name, error in angle_errors(rotations, pairs).items():
        columns[f"{name}, degrees"] = error
        columns[f"{name}, distance mm"] = (positions[name] - pairs.moving_points).norm(dim=-1).mean(dim=1)
    return columns


def figure(results: dict[str, Any], dimension: int, path: Path) -> None:
    """Draw a pair, its keypoints, and the errors against the angles."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drawn, axes = plt.subplots(1, 3, figsize=(11, 3.4), width_ratios=(1, 1, 1.6))
    pairs = draw_pairs(1, dimension, 180.0, torch.Generator().manual_seed(6))
    middle = tuple([0, 0, slice(None), slice(None)] + [SHAPES[dimension][-1] // 2] * (dimension - 2))
    half = EXTENT / 2
    for axis, image, title in zip(axes, (pairs.fixed, pairs.moving), ("fixed", "moving"), strict=False):
        axis.imshow(image[middle].T, cmap="gray", origin="lower", vmin=0, vmax=1, extent=(-half, half, -half, half))
        axis.set_title(title)
        axis.axis("off")
    for name, keypoints in results.get("keypoints", {}).items():
        axis = axes[0 if name == "fixed" else 1]
        if dimension == 2:
            x, y = zip(*keypoints, strict=True)
            axis.scatter(x, y, s=14, c=range(len(x)), cmap="tab20")
    for name, row in results["rows"].items():
        axes[2].plot(row["scatter"]["angle"], row["scatter"]["error"], ".", label=name, markersize=3)
    axes[2].set(xlabel="rotation, degrees", ylabel="error of the angle, degrees", yscale="symlog", ylim=(0, 180))
    axes[2].axhline(5, color="0.5", linewidth=0.8)
    axes[2].legend()
    drawn.tight_layout()
    drawn.savefig(path, dpi=110, bbox_inches="tight")


def page(results: dict[str, Any], dimension: int) -> Iterator[str]:
    """Return the lines of the page."""
    about = results["machine"]
    shape = " x ".join(map(str, SHAPES[dimension]))
    yield f"# Rotations of 0 to 180 degrees, {shape}\n"
    yield f"{about['date']}, {about['machine']}, one core, {about['versions']}. `{about['command']}`\n"
    yield "Error of the angle in degrees, of unseen bodies. Data and training: `benchmarks/family_keymorph.py`.\n"
    ranges = [f"{low} to {high}" for low, high in itertools.pairwise(BINS)]
    columns = ["model", "mean", "median", "same contrast", "two contrasts", *ranges, "steps", "minutes", "parameters"]
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"
    for name, row in results["rows"].items():
        measures = ("", "_median", "_same_contrast", "_two_contrasts")
        values = [row[f"angle_error{measure}"] for measure in measures] + row["angle_error_by_angle"]
        shown = " | ".join(f"{value:.1f}" for value in values)
        yield f"| {name} | {shown} | {row['steps']} | {row['minutes']:.1f} | {row['parameters']:,} |"
    yield "\nMaps from the same keypoints, one pass of the network: error of the angle, distance of the body's points"
    yield "from their true positions, and asymmetry, the mean distance by which the map of the images followed by that"
    yield "of the exchanged images moves a point of the box.\n"
    yield "| map | degrees | distance, mm | asymmetry, mm |"
    yield "|---|---|---|---|"
    row = results["rows"].get("keymorph", {})
    for name in ALIGNMENTS if row else ():
        angle, distance, error = (row[f"{name}, {key}"] for key in ("degrees", "distance mm", "asymmetry mm"))
        yield f"| {name} | {angle:.2f} | {distance:.2f} | {error:.2g} |"


def main() -> None:
    """Train, test, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimension", type=int, choices=(2, 3), default=2)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--unet-minutes", type=float, default=3.0)
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {"machine": machine(), "rows": {}}
    budgets = {"keymorph": options.minutes, "unet": options.unet_minutes}
    settings = {"keymorph": KEYMORPH[options.dimension], "unet": UNET[options.dimension]}
    for name, minutes in budgets.items():
        model = build_model(settings[name], box(options.dimension), torch.Generator().manual_seed(0))
        trained = train(model, options.dimension, minutes)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        about = {**trained, "minutes": minutes, "parameters": parameters}
        results["rows"][name] = test(model, options.dimension) | about
        print(name, {key: value for key, value in results["rows"][name].items() if key != "scatter"}, flush=True)
        example = draw_pairs(1, options.dimension, 180.0, torch.Generator().manual_seed(6))
        for image, keypoints in (
            ("fixed", model.keypoints(example.fixed)),
            ("moving", model.keypoints(example.moving)),
        ):
            if keypoints is not None:
                results.setdefault("keypoints", {})[image] = keypoints.points[0].tolist()
    stem = "family_keymorph" + ("_3d" if options.dimension == 3 else "")
    (options.output / f"{stem}.json").write_text(json.dumps(results) + "\n")
    (options.output / f"{stem}.md").write_text("\n".join(page(results, options.dimension)) + "\n")
    figure(results, options.dimension, options.output / f"{stem}.png")


if __name__ == "__main__":
    main()
