"""Test that label maps are distinguished from intensities, and that averaging them warns."""

import pytest
import torch

from nephi.errors import DataWarning
from nephi.geometry import Grid
from nephi.images import Image, resample
from nephi.images.label_maps import looks_like_labels

SHAPE = (40, 36, 30)


def smooth_image() -> torch.Tensor:
    """Return a smooth function with values from 0 to 1."""
    axes = [torch.linspace(0, 4, n, dtype=torch.float64) for n in SHAPE]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    return (torch.sin(x + z) * torch.cos(y) + 1) / 2


LABELS = (smooth_image() * 5).floor()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64, torch.float32])
def test_averaging_a_label_map_warns(dtype: torch.dtype) -> None:
    labels = LABELS.to(dtype)
    assert looks_like_labels(labels) and looks_like_labels(labels[..., 15])
    image = Image(labels, Grid(SHAPE, torch.eye(4)), name="atlas.nii")
    for interpolation in ("linear", "bspline"):
        with pytest.warns(DataWarning, match=rf"atlas\.nii: looks like a label map, and {interpolation} .* averages"):
            resample(image, image.grid, lambda points: points + 0.5, interpolation)


def test_intensities_and_masks_are_no_label_maps() -> None:
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    counts = torch.poisson(4 * smooth_image(), generator=torch.Generator().manual_seed(0))
    for data in (
        (smooth_image() * 255).to(torch.uint8),
        (smooth_image() * 1000 + 10 * noise).to(torch.int16),
        counts.to(torch.uint8),  # few numbers, but no uniform areas
        (smooth_image() * 5 + 0.1 * noise).float(),
        smooth_image().float(),
        (smooth_image() > 0.5).to(torch.uint8),  # a mask
        (smooth_image() > 0.5),
        LABELS.to(torch.int16) - 1,
        LABELS.float() + 0.25,
        torch.zeros(SHAPE, dtype=torch.int16),
    ):
        assert not looks_like_labels(data)
