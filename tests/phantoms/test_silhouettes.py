"""Triangles and circles: where, how large, and how many of each."""

import math

import pytest
import torch

from nephi.phantoms import silhouettes
from nephi.phantoms.silhouettes import CENTRES, RADII, RING

SIZE = 64


def drawn(count: int, hollow: bool = False, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return silhouettes(count, torch.Generator().manual_seed(seed), SIZE, hollow)


def test_the_same_seed_gives_the_same_pictures() -> None:
    for one, other in zip(drawn(5), drawn(5), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(drawn(5)[0], drawn(5, seed=1)[0])


def test_pictures_and_labels_are_of_one_shape() -> None:
    pictures, labels = drawn(40)
    assert pictures.shape == labels.shape == (40, SIZE, SIZE)
    assert pictures.dtype == torch.float32 and labels.dtype == torch.bool
    assert torch.equal(pictures > 0.5, labels)
    assert float(pictures.min()) >= 0 and float(pictures.max()) <= 1
    # Within a pixel or two of the border a picture is grey, elsewhere black or white.
    grey = ((pictures > 0.01) & (pictures < 0.99)).float().mean()
    assert 0.01 < float(grey) < 0.15


def test_areas_are_those_of_circles_and_equilateral_triangles() -> None:
    """Of radius 0.2 to 0.4, centres inside; both kinds, as likely."""
    _, labels = drawn(400)
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


def test_triangles_have_corners_on_their_circle() -> None:
    """What is not a circle reaches half as far towards its sides as towards its corners."""
    _, labels = drawn(60)
    line = torch.linspace(0, 1, SIZE)
    points = torch.stack(torch.meshgrid(line, line, indexing="ij"), dim=-1)
    found = set()
    for label in labels:
        inside = points[label]
        reach = (inside - inside.mean(dim=0)).norm(dim=-1).max()
        found.add(round(float(label.float().mean()) / float(reach**2), 1))
    assert found <= {1.2, 1.3, 1.4, 1.5, 2.9, 3.0, 3.1, 3.2, 3.3}
    assert min(found) < 1.5 and max(found) > 2.9


def test_hollow_shapes_are_lines_of_one_width() -> None:
    pictures, labels = drawn(50, hollow=True)
    _, full = drawn(50)
    assert bool((full | ~labels).all())  # inside the same outlines
    assert torch.equal(pictures > 0.5, labels)
    centre_row = labels[:, SIZE // 2]
    assert RING * SIZE * 0.5 < float(centre_row.float().sum(dim=1).median()) < 6 * RING * SIZE
    assert 0.2 < float(labels.float().mean() / full.float().mean()) < 0.8
