"""The shift experiment of CARL: train on shapes in the middle of the image, test on shifted and turned ones.

    python benchmarks/family_carl.py [--nets carl attention unets] [-o FOLDER]

Triangles and circles of at most 40 pixels lie in the middle of images of 64 x 64 pixels of 1 mm, so that shifts by up
to 12 pixels along each axis, and turns, keep them whole. Networks are trained on such pairs and tested on new ones, in
which the moving image is shifted or turned or neither. `equivariance` is the mean distance in mm between predictions
for warped images and warped predictions: [U,U] for one map of both images, [W,U] for a map of each
(`nephi.training.equivariance_errors`). Writes `family_carl.json`, `.md` and `.png`; networks that are in the JSON file
already are not trained again.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from network_steps import draw_row, kept_results, take_step
from torch import Tensor, nn

from nephi.geometry import Grid, determinant, interpolate_batch
from nephi.models import (
    CARLSettings,
    FeatureSettings,
    GradICONSettings,
    ModelSettings,
    RegistrationModel,
    UNetSettings,
    build_model,
    random_rotations,
    warp_images,
)
from nephi.phantoms import silhouettes
from nephi.settings import TrainingObjectiveSettings
from nephi.training import equivariance_errors

SIZE, INNER, SHIFT = 64, 40, 12
GRID = Grid.from_spacing((SIZE, SIZE), (1.0, 1.0))
TRAINED, TESTED, BATCH, RATE = 800, 100, 6, 2e-3
UNET, FEATURES = UNetSettings((8, 16, 16, 16)), FeatureSettings(channels=16, padding=6)
OBJECTIVE = TrainingObjectiveSettings(similarity="ncc", points=300, background_points=128, gradicon=0.1, codes=0.0)
DIFFUSION = replace(OBJECTIVE, gradicon=0.0, diffusion=0.05)


@dataclass(frozen=True)
class Net:
    """A network to train: `steps` of which the first `diffusion` have that penalty, on images that are `shifted`."""

    name: str
    settings: ModelSettings
    steps: int
    diffusion: int = 60
    shifted: bool = False


NETS = {
    "attention": Net("attention alone", CARLSettings((4,), FEATURES), 300),
    "unets": Net("U-Nets alone (gradicon)", GradICONSettings((4, 2, 1), UNET), 300),
    "carl": Net("attention and U-Nets (carl)", CARLSettings((4, 2, 1), FEATURES, UNET), 150),
    "unets shifted": Net("U-Nets, trained on shifted images", GradICONSettings((4, 2, 1), UNET), 300, shifted=True),
    "carl turned": Net("carl, rotations = 180", CARLSettings((4, 2, 1), FEATURES, UNET, rotations=180.0), 150),
}
TESTS = ("plain", "shifted", "turned")


def shapes(count: int, generator: torch.Generator) -> Tensor:
    """Return images and labels `(count, 2, SIZE, SIZE)` of shapes that lie whole in the middle."""
    images, labels = silhouettes(6 * count, generator, INNER)
    rim = labels.clone()
    rim[:, 1:-1, 1:-1] = False
    whole = ~rim.flatten(1).any(dim=1)
    both = torch.stack([images[whole], labels[whole].float()], dim=1)[:count]
    return nn.functional.pad(both, [(SIZE - INNER) // 2] * 4)


def moved(images: Tensor, test: str, generator: torch.Generator) -> Tensor:
    """Return the images shifted by up to SHIFT pixels along each axis, turned by any angle, or as they are."""
    if test == "shifted":
        shifts = torch.randint(-SHIFT, SHIFT + 1, (len(images), 2), generator=generator).tolist()
        return torch.stack([image.roll(shift, (1, 2)) for image, shift in zip(images, shifts, strict=True)])
    if test == "turned":
        turns = random_rotations(GRID, 180.0, [generator] * len(images)).to(images)
        return torch.cat([warp_images(images[:, k : k + 1], GRID, turns) for k in range(images.shape[1])], dim=1)
    return images


def train(net: Net) -> RegistrationModel[Any]:
    """Return the network trained on pairs of shapes drawn at random from a fixed set."""
    generator = torch.Generator().manual_seed(0)
    model = build_model(net.settings, GRID, generator).train()
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    images = shapes(TRAINED, generator)[:, :1]
    for step in range(net.steps):
        fixed, moving = (images[torch.randint(TRAINED, (BATCH,), generator=generator)] for _ in range(2))
        moving = moved(moving, "shifted" if net.shifted else "plain", generator)
        objective = DIFFUSION if step < net.diffusion else OBJECTIVE
        terms = take_step(model, optimizer, (fixed, moving), GRID, objective, step)
        if (step + 1) % 100 == 0:
            print(net.name, step + 1, terms, flush=True)
    return model.eval()


@torch.no_grad()
def test_images(test: str) -> tuple[Tensor, Tensor]:
    """Return fixed and moving images and labels of the tested pairs."""
    generator = torch.Generator().manual_seed(1)
    fixed, moving = shapes(TESTED, generator), shapes(TESTED, generator)
    return fixed, moved(moving, test, generator)


@torch.no_grad()
def scores(model: RegistrationModel[Any]) -> dict[str, float]:
    """Return Dice, per cent of folded pixels, and errors of equivariance."""
    points = GRID.voxel_centres().reshape(1, -1, 2).expand(TESTED, -1, -1)
    result: dict[str, float] = {}
    for test in TESTS:
        fixed, moving = test_images(test)
        displaced, jacobians = model(fixed[:, :1], moving[:, :1]).forward.value_and_jacobian(points)
        warped = interpolate_batch(moving[:, 1:], GRID, displaced).reshape(TESTED, -1) > 0.5
        label = fixed[:, 1].flatten(1) > 0.5
        overlap = 2 * (warped & label).sum(dim=1) / (warped.sum(dim=1) + label.sum(dim=1))
        result[f"dice_{test}"] = float(overlap.mean())
        result[f"folding_percent_{test}"] = float((determinant(jacobians) <= 0).double().mean() * 100)
    fixed, moving = (images[:, :1] for images in test_images("plain"))
    for name, changes in (("shift", {"shift": SHIFT / (SIZE - 1)}), ("turn", {"shift": 0.0, "rotation": 180.0})):
        errors = equivariance_errors(model, fixed, moving, torch.Generator().manual_seed(2), **changes)
        result |= {f"{key}_{name}": value for key, value in errors.items()}
    return result


def page(results: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    rows = results["nets"]
    header = ["", *(f"Dice, {test}" for test in TESTS), "folds, %", "[U,U], shifts", "[W,U], shifts", "[U,U], turns"]
    header += ["[W,U], turns", "steps", "seconds"]
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for row in rows.values():
        cells = [row["name"], *(f"{row[f'dice_{test}']:.3f}" for test in TESTS), f"{row['folding_percent_plain']:.2f}"]
        for name in ("shift", "turn"):
            cells += [f"{row[f'equivariance_{which}_mm_{name}']:.2f}" for which in ("uu", "wu")]
        lines.append(f"| {' | '.join([*cells, str(row['steps']), str(round(row['seconds']))])} |")
    text = f"""\
# CARL: trained in the middle, tested shifted and turned

- date: {results["machine"]["date"]}
- machine: {results["machine"]["machine"]}, one core
- versions: {results["machine"]["versions"]}
- command: {results["machine"]["command"]}

{TESTED} pairs of shapes, {SIZE} x {SIZE} pixels of 1 mm; the moving image is shifted by up to {SHIFT} pixels along each
axis, or turned by any angle. Trained on pairs in the middle of the image unless said otherwise. Folds: unshifted pairs.
[U,U] and [W,U]: mean distance in mm between predictions for warped images and warped predictions, for one map of both
images and for a map of each. Seconds of training are wall time; other work ran beside.

"""
    return text + "\n".join([*lines, ""])


def draw(models: dict[str, RegistrationModel[Any]], path: Path) -> None:
    """Draw one pair plain, shifted and turned, and the moving image warped by each network."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(TESTS), 2 + len(models), figsize=(2 * (2 + len(models)), 2 * len(TESTS) + 0.5))
    for row, test in zip(axes, TESTS, strict=True):
        fixed, moving = (images[4:5, :1] for images in test_images(test))
        pictures = {"fixed": fixed, f"moving, {test}": moving}
        for name, model in models.items():
            with torch.no_grad():
                displaced = model(fixed, moving).forward(GRID.voxel_centres().reshape(1, -1, 2))
            pictures[name] = interpolate_batch(moving, GRID, displaced).reshape(fixed.shape)
        draw_row(row, pictures, [0.5])
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="*", default=list(NETS), choices=list(NETS))
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = arguments.output / "family_carl.json"
    work = Path(__file__).parent / "work" / "family_carl"
    work.mkdir(parents=True, exist_ok=True)
    results = kept_results(path)
    models = {}
    for key in arguments.nets:
        net = NETS[key]
        if not (work / f"{key}.pt").is_file() or key not in results["nets"]:
            start = time.monotonic()
            model = train(net)
            seconds = time.monotonic() - start
            torch.save(model.state_dict(), work / f"{key}.pt")
            results["nets"][key] = {"name": net.name, "steps": net.steps, "seconds": seconds, **scores(model)}
            path.write_text(json.dumps(results, indent=1) + "\n")
            print(results["nets"][key], flush=True)
        models[key] = build_model(net.settings, GRID, torch.Generator()).eval()
        models[key].load_state_dict(torch.load(work / f"{key}.pt", weights_only=True))
    (arguments.output / "family_carl.md").write_text(page(results))
    draw(models, arguments.output / "family_carl.png")


if __name__ == "__main__":
    main()
