"""Draw the README's picture: a lung phantom before and after registration, with the deformation grid.

    python docs/before_and_after.py [FIGURE.png]

The phantom is synthetic, so its true motion is known; the picture states the mean error of its landmarks.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from PIL import Image
from torch import Tensor

import nephi

MOTION = 30.0  # largest displacement in the lungs, mm
WINDOW = (-1000.0, 200.0)  # HU drawn as black and white
SPACING = 10.0  # between the lines of the deformation grid, mm
PIXEL = 1.0  # mm
MARGIN = 2.0  # around the lungs, mm


def main() -> None:
    """Register the phantom and draw its middle coronal plane."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("before-after.png")
    phantom = nephi.phantoms.lung_phantom(seed=0, motion=MOTION)
    masks = {"fixed_mask": phantom.fixed_mask, "moving_mask": phantom.moving_mask}
    result = nephi.register(phantom.fixed, phantom.moving, preset="lung-ct", **masks)
    errors = nephi.landmark_errors(result.transform, phantom.landmarks)
    plane = coronal_plane(phantom.fixed_mask, PIXEL, MARGIN)
    identity = nephi.AffineTransform.translation(torch.zeros(3, dtype=torch.float64))
    fixed = sample(phantom.fixed, plane, identity)
    moving = sample(phantom.moving, plane, identity)
    warped = sample(phantom.moving, plane, result.transform)

    panels = {
        "fixed (inhaled)": fixed,
        f"before: mean landmark error {errors.before.mean():.1f} mm": overlay(fixed, moving),
        f"after: {errors.after.mean():.1f} mm": overlay(fixed, warped),
        "moving, warped; deformation grid": warped,
    }
    figure, axes = plt.subplots(1, len(panels), figsize=(10.5, 2.8), layout="constrained")
    for axis, (title, picture) in zip(axes, panels.items(), strict=True):
        axis.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=1, origin="lower", interpolation="bilinear")
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
    draw_deformation_grid(axes[-1], plane, result.transform)
    figure.savefig(path, dpi=90)
    with Image.open(path) as picture:  # 160 colours: half of the bytes
        picture.convert("RGB").quantize(160).save(path, optimize=True)
    print(f"{path}: mean landmark error {errors.before.mean():.2f} mm before, {errors.after.mean():.2f} mm after")


def coronal_plane(mask: nephi.Image, pixel: float, margin: float) -> nephi.Grid:
    """Return a grid of one coronal plane through the middle of the mask, its first axis to the patient's left; mm."""
    inside = mask.grid.voxel_centres().reshape(-1, 3)[mask.data.reshape(-1) > 0]
    low, high = (inside.amin(dim=0) - margin).tolist(), (inside.amax(dim=0) + margin).tolist()
    shape = (round((high[0] - low[0]) / pixel), 1, round((high[2] - low[2]) / pixel))
    return nephi.Grid.from_spacing(shape, (-pixel, pixel, pixel), (high[0], (low[1] + high[1]) / 2, low[2]))


def sample(image: nephi.Image, plane: nephi.Grid, transform: nephi.Transform) -> Tensor:
    """Return the grey values of `image(transform(x))` in the plane, 0 to 1, rows from feet to head."""
    values = nephi.resample(image, plane, transform, outside=WINDOW[0]).data[:, 0].float()
    return ((values - WINDOW[0]) / (WINDOW[1] - WINDOW[0])).clamp(0, 1).T


def overlay(fixed: Tensor, moving: Tensor) -> Tensor:
    """Return an RGB picture, fixed in magenta and moving in green: grey where both agree."""
    return torch.stack([fixed, moving, fixed], dim=-1)


def draw_deformation_grid(axis: plt.Axes, plane: nephi.Grid, transform: nephi.Transform) -> None:
    """Draw the lines on which the mapped points have coordinates R or S that are multiples of SPACING."""
    with torch.no_grad():
        mapped = transform(plane.voxel_centres().reshape(-1, 3)).reshape(*plane.shape, 3)[:, 0]
    for coordinate in (0, 2):
        values = mapped[..., coordinate].T.numpy()
        levels = [SPACING * i for i in range(int(values.min() // SPACING), int(values.max() // SPACING) + 2)]
        axis.contour(values, levels=levels, colors="#ffb000", linewidths=0.7, linestyles="solid")


if __name__ == "__main__":
    main()
