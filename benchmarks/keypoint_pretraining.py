"""Train KeyMorph by `nephi.train` with and without its pre-training of keypoints, and measure the error of the angle.

    python benchmarks/keypoint_pretraining.py [--steps 800] [-o FOLDER]

48 bodies without symmetry (`nephi.phantoms.Bodies`), 32 x 32, in the same orientation, in one or in two contrasts;
pairs are two bodies, the moving one turned by any angle and shifted. Models are trained for the same number of steps:
by mean squares, by the pre-training in which keypoints follow points of the first body, or by the one after the other.
Tested on 96 unseen bodies turned by 0 to 180 degrees. Writes `keypoint_pretraining.md` and `.json`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from family_keymorph import rotations
from machine import machine
from torch import Tensor

import nephi
from nephi.geometry import Grid
from nephi.models import InputSettings, KeyMorphSettings, RegistrationModel, input_grid
from nephi.phantoms import Bodies
from nephi.settings import TrainingObjectiveSettings
from nephi.training import AugmentationSettings, DataSettings, OptimizationSettings, PhaseSettings, TrainSettings
from nephi.transforms import rigid_fit

HERE = Path(__file__).parent
BOX = InputSettings((32, 32), (4.0, 4.0), window=(0.0, 1.0))
SIZE = 42.0  # mm, half the length of a body
TRAINED, TESTED = 48, 96
MODEL = KeyMorphSettings(16, (8, 16, 16, 32), align="rigid")
OBJECTIVE = TrainingObjectiveSettings(similarity="mse", gradicon=0.0, codes=0.0, points=500)
AUGMENTATION = AugmentationSettings(rotation=180.0, shift=8.0, images="moving", ramp=0.25)
FOLLOW = {"keypoints": 1.0, "similarity_weight": 0.0}


def images(bodies: Bodies, turns: Tensor, contrasts: int, grid: Grid, generator: torch.Generator) -> Tensor:
    """Return images `(B, 1, *shape)` of bodies in random contrasts, turned by matrices `(B, 2, 2)`."""
    chosen = torch.randint(contrasts, (len(turns),), generator=generator)
    values = bodies.intensities(grid.voxel_centres().reshape(1, -1, 2) @ turns, chosen)
    return values.reshape(-1, 1, *grid.shape)


def write_data(folder: Path, contrasts: int) -> None:
    """Write the bodies of the training, and their index."""
    grid, generator = input_grid(BOX), torch.Generator().manual_seed(0)
    folder.mkdir()
    bodies = Bodies.random(TRAINED, 2, SIZE, generator)
    upright = torch.eye(2, dtype=torch.float32).expand(TRAINED, 2, 2)
    pictures = images(bodies, upright, contrasts, grid, generator)
    names = [f"b{k}" for k in range(TRAINED)]
    for name, picture in zip(names, pictures, strict=True):
        nephi.write_image(nephi.Image(picture[0], grid), folder / f"{name}.nii.gz")
    entries = tuple(nephi.datasets.DatasetImage(name, name, f"{name}.nii.gz") for name in names)
    splits = {"train": nephi.datasets.DatasetSplit(tuple(names), "between-subjects")}
    nephi.datasets.write_dataset_index(nephi.datasets.DatasetIndex("bodies", 2, entries, splits), folder)


def settings(data: Path, steps: int, pretraining: int) -> TrainSettings:
    """Return the settings of a training, of which the first steps are the pre-training."""
    phases = (PhaseSettings(pretraining, objective=FOLLOW),) if pretraining else ()
    loop = OptimizationSettings(steps=steps, batch=12, rate=5e-3, threads=1, workers=0, log_interval=steps // 20)
    return TrainSettings(DataSettings(str(data)), BOX, MODEL, OBJECTIVE, AUGMENTATION, loop, phases)


@torch.no_grad()
def angle_errors(model: RegistrationModel[Any], contrasts: int) -> Tensor:
    """Return the errors of the rotation, degrees, for unseen bodies."""
    generator = torch.Generator().manual_seed(1)
    bodies = Bodies.random(TESTED, 2, SIZE, generator)
    first, _ = rotations(TESTED, 2, 180.0, generator)
    relative, _ = rotations(TESTED, 2, 180.0, generator)
    poses = first, relative @ first
    fixed, moving = (images(bodies, turns, contrasts, model.grid, generator) for turns in poses)
    points = input_grid(BOX).corners_world().float().expand(TESTED, -1, -1)
    found = rigid_fit(points, model(fixed, moving).forward(points)).matrices
    difference = found @ relative.transpose(-1, -2).to(found)
    angles: Tensor = torch.rad2deg(torch.atan2(difference[:, 1, 0], difference[:, 0, 0])).abs()
    return angles


def main() -> None:
    """Train both, test, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    parts = {"mean squares": 0, "pre-training, then mean squares": options.steps // 2, "pre-training": options.steps}
    with tempfile.TemporaryDirectory() as name:
        for contrasts in (1, 2):
            folder = Path(name) / f"{contrasts}"
            write_data(folder, contrasts)
            for label, pretraining in parts.items():
                start = time.process_time()
                chosen = settings(folder, options.steps, pretraining)
                run = nephi.train(chosen, folder / f"run-{pretraining}", device="cpu")
                seconds = time.process_time() - start
                errors = angle_errors(nephi.read_model(run.last).model.eval(), contrasts)
                row = {"mean": float(errors.mean()), "median": float(errors.median()), "cpu_s": seconds}
                rows.append({"contrasts": contrasts, "training": label, **row})
                print(rows[-1], flush=True)
    about = machine()
    (options.output / "keypoint_pretraining.json").write_text(
        json.dumps({"machine": about, "steps": options.steps, "rows": rows}) + "\n", encoding="utf-8"
    )
    lines = [
        "# KeyMorph and its pre-training\n",
        f"{about['date']}, {about['machine']}, one core, {about['versions']}. `{about['command']}`\n",
        f"Error of the angle in degrees, of {TESTED} unseen bodies turned by 0 to 180 degrees, after {options.steps} "
        "steps of `nephi train`.\nData and training: `benchmarks/keypoint_pretraining.py`.\n",
        "| contrasts | training | mean | median | CPU s |",
        "|---|---|---|---|---|",
        *(
            f"| {row['contrasts']} | {row['training']} | {row['mean']:.1f} | {row['median']:.1f} | {row['cpu_s']:.0f} |"
            for row in rows
        ),
    ]
    (options.output / "keypoint_pretraining.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
