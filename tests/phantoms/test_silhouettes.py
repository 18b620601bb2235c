"""Test position, size and number of the triangles and circles."""

import math

import pytest
import torch

from nephi.phantoms import silhouettes
from nephi.phantoms.silhouettes import CENTRES, RADII, RING

SIZE = 64


def draw(count: int, hollow: bool = False, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return silhouettes(count, torch.Generator().manual_seed(seed), SIZE, hollow)


def test_equal_seeds_yield_equal_images() -> None:
    for one, other in zip(draw(5), draw(5), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(draw(5)[0], draw(5, seed=1)[0])


def test_images_and_labels_show_the_same_shapes() -> None:
    images, labels = draw(40)
    assert images.shape == labels.shape == (40, SIZE, SIZE)
    assert images.dtype == torch.float32 and labels.dtype == torch.bool
    assert torch.equal(images > 0.5, labels)
    assert float(images.min()) >= 0 and float(images.max()) <= 1
    # Images are grey within a pixel or two of a border, else black or white.
    grey = ((images > 0.01) & (images < 0.99)).float().mean()
    assert 0.01 < float(grey) < 0.15


def test_areas_are_those_of_circles_and_equilateral_triangles() -> None:
    """Radii are 0.2 to 0.4, centres in their range; both shapes are equally likely."""
    _, labels = draw(400)
    areas = labels.float().mean(dim=(1, 2)) * (SIZE / (SIZE - 1)) ** 2
    triangle = 3 * math.sqrt(3) / 4  # area of one with unit circumradius
    assert float(areas.min()) == pytest.approx(triangle * RADII[0] ** 2, rel=0.1)
    assert float(areas.max()) == pytest.approx(math.pi * RADII[1] ** 2, rel=0.05)
    mean_square = (RADII[1] ** 3 - RADII[0] ** 3) / 3 / (RADII[1] - RADII[0])
    assert float(areas.mean()) == pytest.approx((math.pi + triangle) / 2 * mean_square, rel=0.08)
    line = torch.linspace(0, 1, SIZE)
    for axis in (1, 2):
        weights = labels.float().sum(dim=3 - axis)
        centres = (weights * line).sum(dim=1) / weights.sum(dim=1)
        assert CENTRES[0] - 0.03 < float(centres.min()) and float(centres.max()) < CENTRES[1] + 0.03
        assert float(centres.mean()) == pytest.approx(sum(CENTRES) / 2, abs=0.02)


def test_triangles_have_the_area_of_their_circumcircle() -> None:
    """Area over squared largest distance from the centroid is pi for circles and 1.3 for triangles."""
    _, labels = draw(60)
    line = torch.linspace(0, 1, SIZE)
    points = torch.stack(torch.meshgrid(line, line, indexing="ij"), dim=-1)
    ratios = set()
    for label in labels:
        inside = points[label]
        radius = (inside - inside.mean(dim=0)).norm(dim=-1).max()
        ratios.add(round(float(label.float().mean()) / float(radius**2), 1))
    assert ratios <= {1.2, 1.3, 1.4, 1.5, 2.9, 3.0, 3.1, 3.2, 3.3}
    assert min(ratios) < 1.5 and max(ratios) > 2.9


def test_hollow_shapes_are_outlines_of_constant_width() -> None:
    images, labels = draw(50, hollow=True)
    _, full = draw(50)
    assert bool((full | ~labels).all())  # inside the same outlines
    assert torch.equal(images > 0.5, labels)
    centre_row = labels[:, SIZE // 2]
    assert RING * SIZE * 0.5 < float(centre_row.float().sum(dim=1).median()) < 6 * RING * SIZE
    assert 0.2 < float(labels.float().mean() / full.float().mean()) < 0.8
