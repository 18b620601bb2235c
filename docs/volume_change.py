"""Draw README's second picture: the change of volume of breathing lungs, and the errors of their landmarks.

    python docs/volume_change.py [FIGURE.png]

The lungs are a phantom that breathes smoothly: its true motion is known, so that the map can be compared with the true
one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from before_and_after import coronal_plane
from PIL import Image
from torch import Tensor

import nephi

WINDOW = (-1000.0, 200.0)  # HU drawn as black and white
MOTION = 30.0  # largest displacement in the lungs, mm
VOLUMES = (0.6, 1.4)  # J at the ends of the colours
PIXEL = 1.5  # mm
MARGIN = 5.0  # around the lungs, mm


def main() -> None:
    """Register the study and draw its middle coronal plane."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("volume-change.png")
    phantom = nephi.phantoms.lung_phantom(seed=0, motion=MOTION, local=0.0)
    masks = {"fixed_mask": phantom.fixed_mask, "moving_mask": phantom.moving_mask}
    result = nephi.register(phantom.fixed, phantom.moving, preset="lung-ct", **masks)
    errors = nephi.landmark_errors(result.transform, phantom.landmarks)
    plane, identity = coronal_plane(phantom.fixed_mask, PIXEL, MARGIN), nephi.AffineTransform.identity(3)
    fixed = nephi.resample(phantom.fixed, plane, identity, outside=WINDOW[0]).data[:, 0].T
    lungs = nephi.resample(phantom.fixed_mask, plane, identity, interpolation="label").data[:, 0].T > 0

    figure, axes = plt.subplots(1, 3, figsize=(10.5, 2.9), layout="constrained")
    panels = {"volume change from inhale to exhale": result.transform, "the true one": phantom.transform}
    for axis, (title, transform) in zip(axes[:2], panels.items(), strict=True):
        axis.imshow(fixed, cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1], origin="lower")
        values = np.where(lungs, volume_change(transform, plane), np.nan)
        colours = axis.imshow(values, cmap="RdBu_r", vmin=VOLUMES[0], vmax=VOLUMES[1], origin="lower")
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
    figure.colorbar(colours, ax=axes[:2], shrink=0.8, label="Jacobian determinant")
    bins = np.linspace(0, float(errors.before.max()), 40)
    for name, distances in (("before", errors.before), ("after", errors.after)):
        axes[2].hist(distances, bins=bins, label=f"{name}: mean {distances.mean():.1f} mm", alpha=0.8)
    axes[2].set_xlabel("landmark error in mm", fontsize=9)
    axes[2].set_ylabel("landmarks", fontsize=9)
    axes[2].legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=90)
    with Image.open(path) as picture:  # 160 colours: half of the bytes
        picture.convert("RGB").quantize(160).save(path, optimize=True)
    print(f"{path}: mean landmark error {errors.before.mean():.2f} mm before, {errors.after.mean():.2f} mm after")


@torch.no_grad()
def volume_change(transform: nephi.Transform, plane: nephi.Grid) -> Tensor:
    """Return the Jacobian determinant in the plane, rows from feet to head."""
    _, jacobians = transform.value_and_jacobian(plane.voxel_centres()[:, 0].reshape(-1, 3))
    return torch.linalg.det(jacobians).reshape(plane.shape[0], plane.shape[2]).T


if __name__ == "__main__":
    main()
