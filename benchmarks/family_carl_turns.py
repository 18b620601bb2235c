"""The turn experiment of CARL: train with and without random rotations, test on bodies turned by any angle.

    python benchmarks/family_carl_turns.py [--nets carl unet ...] [--validate] [-o FOLDER]

Pairs of different bodies of one anatomy without symmetry (`nephi.phantoms.Bodies`), upright but for 10 degrees. Tested
on unseen bodies as they are, and with each image of a pair turned about the centre by a random angle of 0 to 180
degrees either way. [W,U] is the mean distance in mm between the prediction for the turned images and the turned
prediction, over the body and over the whole box. Landmarks: the centres and ends of the axes of the two inner marks.
`--validate` prints the scores of other bodies than those of the test, to choose settings by. Writes
`family_carl_turns.json`, `.md` and `.png`; networks that are in the JSON file already are not trained again.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from network_steps import draw_row, kept_results, take_step
from torch import Tensor

from nephi.geometry import Grid, determinant
from nephi.metrics import equivariance_error
from nephi.models import (
    CARLSettings,
    DisplacementUNetSettings,
    FeatureSettings,
    ModelSettings,
    RegistrationModel,
    UNetSettings,
    build_model,
)
from nephi.phantoms import Bodies
from nephi.settings import TrainingObjectiveSettings
from nephi.transforms import AffineMaps

VOXELS, EXTENT, SIZE = 48, 120.0, 42.0  # mm: edge of the box, half the length of a body
SPACING = EXTENT / VOXELS
GRID = Grid.from_spacing((VOXELS, VOXELS), (SPACING, SPACING), [-0.5 * (VOXELS - 1) * SPACING] * 2)
TILT = 10.0  # degrees
TESTED, BATCH, RATE = 100, 6, 2e-3
VALIDATION, TEST = 1, 2  # seeds
FEATURES, INVARIANT = FeatureSettings(16, 6, 3, (1, 2, 4)), FeatureSettings(16, 6, 2, (1, 2, 4))
UNET = UNetSettings((8, 16, 16, 16))
OBJECTIVE = TrainingObjectiveSettings(similarity="ncc", points=200, background_points=100, gradicon=0.05, codes=0.0)
DIFFUSION = replace(OBJECTIVE, gradicon=0.0, diffusion=0.05)
INVERSE, BOTH = replace(OBJECTIVE, gradicon=0.0, icon=0.01), replace(OBJECTIVE, icon=0.003)
LABELS = (1, 2, 3)


@dataclass(frozen=True)
class Net:
    """A network to train for `steps`, on images that are `turned`; the `first` steps with an objective of their own.

    The latter train the first composed step alone, the attention.
    """

    name: str
    settings: ModelSettings
    steps: int
    first: int = 0
    first_objective: TrainingObjectiveSettings = DIFFUSION
    objective: TrainingObjectiveSettings = OBJECTIVE
    turned: bool = False


PLAIN, DISPLACEMENT = DisplacementUNetSettings((16, 32, 32, 64)), replace(DIFFUSION, diffusion=0.2)
TURNED = CARLSettings((2, 2, 1), INVARIANT, UNET, rotations=180.0)
ALONE = replace(TURNED, downsampling=(2,))
NETS = {
    "unet": Net("U-Net", PLAIN, 400, objective=DISPLACEMENT),
    "unet turned": Net("U-Net, trained on turned images", PLAIN, 400, objective=DISPLACEMENT, turned=True),
    "carl": Net("CARL", CARLSettings((2, 2, 1), FEATURES, UNET), 200, 80),
    "attention diffusion": Net("attention, rotations = 180, diffusion first", ALONE, 80, 50),
    "attention": Net("attention, rotations = 180, icon first", ALONE, 80, 50, INVERSE, BOTH),
    "turned": Net("CARL, rotations = 180, icon first", TURNED, 220, 80, INVERSE, BOTH),
}


@dataclass(frozen=True, eq=False)
class Pairs:
    """N pairs of bodies, fixed and moving; `poses` `(2, N, 2, 2)` turn the frames of the bodies to the images."""

    fixed: Bodies
    moving: Bodies
    poses: Tensor

    @property
    def images(self) -> tuple[Tensor, Tensor]:
        """Both images `(N, 1, *shape)`."""
        centres = GRID.voxel_centres().reshape(1, -1, 2)
        contrasts = torch.zeros(self.poses.shape[1], dtype=torch.int64)
        values = [
            body.intensities(centres @ pose, contrasts).reshape(-1, 1, *GRID.shape)
            for body, pose in zip((self.fixed, self.moving), self.poses, strict=True)
        ]
        return values[0], values[1]

    def turned(self, turns: Tensor) -> Pairs:
        """Return the pairs with the image turned by `turns` `(2, N, 2, 2)` more."""
        return replace(self, poses=turns @ self.poses)

    def labels(self, which: int, points: Tensor) -> Tensor:
        """Return the labels `(N, M)` of the fixed (0) or moving (1) images at points `(N, M, 2)`."""
        return (self.fixed, self.moving)[which].labels(points @ self.poses[which])

    def landmarks(self, which: int) -> Tensor:
        """Return the centres and axis ends of both marks `(N, 10, 2)` in the fixed (0) or moving (1) images, mm."""
        body = (self.fixed, self.moving)[which]
        ends = torch.tensor([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], dtype=torch.float32)
        points = body.centres[:, 2:, None] + body.half_axes[:, 2:, None] * ends
        return points.flatten(1, 2) @ self.poses[which].mT


def rotations(count: int, degrees: float, generator: torch.Generator) -> Tensor:
    """Draw rotations `(2, count, 2, 2)` by uniform angles of up to so many degrees either way."""
    angles = math.radians(degrees) * (2 * torch.rand(2, count, generator=generator, dtype=torch.float32) - 1)
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([torch.stack([cos, -sin], dim=-1), torch.stack([sin, cos], dim=-1)], dim=-2)


def draw_pairs(count: int, generator: torch.Generator) -> Pairs:
    """Draw pairs of different bodies that stand upright but for `TILT`."""
    bodies = [Bodies.random(count, 2, SIZE, generator) for _ in range(2)]
    return Pairs(bodies[0], bodies[1], rotations(count, TILT, generator))


def train(net: Net) -> RegistrationModel[Any]:
    """Return the network trained on new pairs in each step."""
    generator = torch.Generator().manual_seed(0)
    model = build_model(net.settings, GRID, generator).train()
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    start = time.process_time()
    for step in range(net.steps):
        if net.first and step in (0, net.first):
            model.use_steps(0 if step else 1)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 10, 3 * (1 - step / net.steps))
        pairs = draw_pairs(BATCH, generator)
        if net.turned:
            pairs = pairs.turned(rotations(BATCH, 180.0, generator))
        objective = net.first_objective if step < net.first else net.objective
        terms = take_step(model, optimizer, pairs.images, GRID, objective, step)
        if (step + 1) % 25 == 0:
            print(net.name, step + 1, terms, f"{time.process_time() - start:.0f} s", flush=True)
    return model.eval()


@torch.no_grad()
def scores(model: RegistrationModel[Any], seed: int) -> dict[str, float]:
    """Return Dice, landmark error, per cent of folds of plain and turned pairs, and [W,U] errors, mm."""
    generator = torch.Generator().manual_seed(seed)
    plain = draw_pairs(TESTED, generator)
    turns = rotations(TESTED, 180.0, generator)
    turned = plain.turned(turns)
    maps = {name: model(*pairs.images).forward for name, pairs in (("plain", plain), ("turned", turned))}
    points = GRID.voxel_centres().reshape(1, -1, 2).expand(TESTED, -1, -1)
    result: dict[str, float] = {}
    for name, pairs in (("plain", plain), ("turned", turned)):
        displaced, jacobians = maps[name].value_and_jacobian(points)
        fixed, warped = pairs.labels(0, points), pairs.labels(1, displaced)
        distances = maps[name](pairs.landmarks(0)) - pairs.landmarks(1)
        result[f"dice_{name}"] = float(torch.stack([_dice(fixed == k, warped == k) for k in LABELS]).mean())
        result[f"landmarks_mm_{name}"] = float(distances.norm(dim=-1).mean())
        result[f"folding_percent_{name}"] = float((determinant(jacobians) <= 0).double().mean() * 100)
    u, w = (AffineMaps(each.mT, torch.zeros(TESTED, 2, dtype=torch.float32)) for each in turns)
    error = equivariance_error(maps["plain"], maps["turned"], w, u, points, GRID)
    result["equivariance_wu_mm_box"] = float(error.nanmean())
    expected = w.inverse()(maps["plain"](u(points)))
    distances, in_body = (maps["turned"](points) - expected).norm(dim=-1), turned.labels(0, points) > 0
    result["equivariance_wu_mm_body"] = float((distances * in_body).sum() / in_body.sum())
    return result


def _dice(a: Tensor, b: Tensor) -> Tensor:
    return (2 * (a & b).sum(dim=1) / (a.sum(dim=1) + b.sum(dim=1)).clamp_min(1)).mean()


def before() -> dict[str, float]:
    """Return Dice and landmark errors of the test pairs without any registration."""
    generator = torch.Generator().manual_seed(TEST)
    pairs, result = draw_pairs(TESTED, generator), {}
    points = GRID.voxel_centres().reshape(1, -1, 2).expand(TESTED, -1, -1)
    for name, each in (("plain", pairs), ("turned", pairs.turned(rotations(TESTED, 180.0, generator)))):
        fixed, moving = (each.labels(which, points) for which in range(2))
        result[f"dice_{name}"] = float(torch.stack([_dice(fixed == k, moving == k) for k in LABELS]).mean())
        result[f"landmarks_mm_{name}"] = float((each.landmarks(0) - each.landmarks(1)).norm(dim=-1).mean())
    return result


def page(results: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    header = ["", "Dice, plain", "Dice, turned", "landmarks, plain, mm", "landmarks, turned, mm", "folds, plain, %"]
    header += ["folds, turned, %", "[W,U], body, mm", "[W,U], box, mm", "steps", "CPU s"]
    keys = ["dice_plain", "dice_turned", "landmarks_mm_plain", "landmarks_mm_turned", "folding_percent_plain"]
    keys += ["folding_percent_turned", "equivariance_wu_mm_body", "equivariance_wu_mm_box"]
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for row in [{"name": "no registration", **results["before"]}, *results["nets"].values()]:
        values = [f"{row[key]:.3f}" if "dice" in key else f"{row[key]:.2f}" for key in keys if key in row]
        values += [""] * (len(keys) - len(values)) if "steps" not in row else []
        lines.append(f"| {' | '.join([row['name'], *values, str(row.get('steps', '')), row.get('cpu', '')])} |")
    about = results["machine"]
    text = f"""\
# CARL: trained with and without rotations, tested on turned images

- date: {about["date"]}
- machine: {about["machine"]}, one core
- versions: {about["versions"]}
- command: {about["command"]}

{TESTED} pairs of unseen bodies without symmetry, {VOXELS} x {VOXELS} pixels of {SPACING:g} mm; plain: upright but for
{TILT:g} degrees; turned: each image by a random angle of 0 to 180 degrees either way. Trained on upright pairs unless
said otherwise. Dice: mean of three labels. [W,U]: mean distance in mm between the predictions for turned images and
the turned predictions, over the body and over the whole box.

"""
    return text + "\n".join([*lines, ""])


def draw(models: dict[str, RegistrationModel[Any]], path: Path) -> None:
    """Draw one pair plain and turned, and the moving image warped by each network."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    generator = torch.Generator().manual_seed(TEST)
    plain = draw_pairs(TESTED, generator)
    rows = {"plain": plain, "turned": plain.turned(rotations(TESTED, 180.0, generator))}
    points, one = GRID.voxel_centres().reshape(1, -1, 2), slice(0, 1)
    figure, axes = plt.subplots(2, 2 + len(models), figsize=(2 * (2 + len(models)), 4.5))
    for row, (test, pairs) in zip(axes, rows.items(), strict=True):
        fixed, moving = (image[one] for image in pairs.images)
        pictures = {f"fixed, {test}": fixed, f"moving, {test}": moving}
        contrast = torch.zeros(1, dtype=torch.int64)
        body = Bodies(pairs.moving.centres[one], pairs.moving.half_axes[one], SIZE)
        for name, model in models.items():
            with torch.no_grad():
                displaced = model(fixed, moving).forward(points)
            pictures[NETS[name].name] = body.intensities(displaced @ pairs.poses[1, one], contrast).reshape(fixed.shape)
        draw_row(row, pictures, [0.2, 0.7])
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Train, test, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="*", default=list(NETS), choices=list(NETS))
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = arguments.output / "family_carl_turns.json"
    work = Path(__file__).parent / "work" / "family_carl_turns"
    work.mkdir(parents=True, exist_ok=True)
    results = kept_results(path)
    results["before"] = before()
    models = {}
    for key in arguments.nets:
        net, weights = NETS[key], work / f"{key}.pt"
        if not weights.is_file():
            start = time.process_time()
            model = train(net)
            torch.save({"weights": model.state_dict(), "cpu": time.process_time() - start}, weights)
        stored = torch.load(weights, weights_only=True)
        models[key] = build_model(net.settings, GRID, torch.Generator()).eval()
        models[key].load_state_dict(stored["weights"])
        if arguments.validate:
            print(key, scores(models[key], VALIDATION), f"{stored['cpu']:.0f} s", flush=True)
        elif key not in results["nets"]:
            about = {"name": net.name, "steps": net.steps, "cpu": f"{stored['cpu']:.0f}"}
            results["nets"][key] = about | scores(models[key], TEST)
            path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if not arguments.validate:
        path.with_suffix(".md").write_text(page(results), encoding="utf-8")
        draw(models, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
