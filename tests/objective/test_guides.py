"""Landmarks and labels as terms: closed forms, derivatives by differences, exchange of the images."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.images import Image
from nephi.objective import LabelGuide, LandmarkGuide
from nephi.sampling import label_boundaries
from nephi.settings import GuidanceSettings

GENERATOR = torch.Generator
POINTS = torch.tensor([[0.0, 1.0], [5.0, -2.0], [3.0, 8.0], [-6.0, 4.0], [1.0, 1.0]], dtype=torch.float64)


def shifted(shift: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda points: points + shift


def landmark_guide(errors: Tensor) -> LandmarkGuide:
    return LandmarkGuide(POINTS, POINTS + errors, weight=2.0, accuracy=0.5)


def test_landmarks_of_the_map_cost_nothing() -> None:
    guide = landmark_guide(torch.full_like(POINTS, 3.0))
    zero = torch.zeros(2, dtype=torch.float64)
    assert float(guide(shifted(zero + 3), shifted(zero - 3), GENERATOR())) == 0
    # every distance beyond the accuracy is the median m: s t / (1 + t) with s = 3 m and t = 1/9
    distance = 3 * 2**0.5 - 0.5
    assert float(guide(shifted(zero + 2.7), None, GENERATOR())) == 0  # 0.42 mm
    assert float(guide(shifted(zero), None, GENERATOR())) == pytest.approx(2 * 3 * distance / 10, rel=1e-9)


def test_a_wrong_pair_pulls_less_the_better_the_others_match() -> None:
    errors = torch.zeros_like(POINTS)
    errors[0] = torch.tensor([40.0, 0.0], dtype=torch.float64)
    pulls = []
    for distance in (10.0, 1.0, 0.0):
        errors[1:] = torch.tensor([0.0, distance], dtype=torch.float64)
        shift = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        landmark_guide(errors)(shifted(shift), None, GENERATOR()).backward()
        assert shift.grad is not None
        pulls.append(float(shift.grad[0].abs()))
    assert pulls[0] > 10 * pulls[1] > 10 * pulls[2] > 0


def test_landmark_gradient_by_differences() -> None:
    """At a scale that does not change: that of the median is not differentiated."""
    errors = torch.tensor([[0.3, 0.3], [0.2, 0.2], [0.3, 0.1], [9.0, 4.0], [0.25, 0.1]], dtype=torch.float64)
    guide, value = replace(landmark_guide(errors), accuracy=0.25), torch.full((2,), 0.2, dtype=torch.float64)
    shift = value.clone().requires_grad_(True)
    guide(shifted(shift), shifted(-shift), GENERATOR()).backward()
    for axis in range(2):
        step = torch.zeros(2, dtype=torch.float64)
        step[axis] = 1e-5
        ends = [guide(shifted(value + s), shifted(-value - s), GENERATOR()) for s in (step, -step)]
        assert shift.grad is not None
        assert float(shift.grad[axis]) == pytest.approx(float(ends[0] - ends[1]) / 2e-5, rel=1e-6)


def blocks(dimension: int, shift: int, spacing: float = 1.0, labels: int = 2) -> Image:
    """Labelled boxes in an oblique image, moved along its first axis."""
    shape = (40, 24, 18)[:dimension]
    data = torch.zeros(shape, dtype=torch.int16)
    for label in range(1, labels + 1):
        start = 3 + shift + (26 // labels) * (label - 1)
        data[(slice(start, start + 26 // labels), *[slice(5, n - 5) for n in shape[1:]])] = label
    affine = torch.eye(dimension + 1, dtype=torch.float64)
    angle = torch.tensor(0.4, dtype=torch.float64)
    affine[:2, :2] = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
    affine[:-1, :-1] *= spacing
    return Image(data, Grid(shape, affine))


def label_guide(fixed: Image, moving: Image, **settings: int) -> LabelGuide:
    sides = [label_boundaries(image, torch.Generator().manual_seed(0)) for image in (fixed, moving)]
    return LabelGuide(sides[0], sides[1], GuidanceSettings(**settings)).at_level(2.0)


def value(guide: LabelGuide, shift: Tensor, seed: int = 3) -> Tensor:
    return guide(shifted(shift), shifted(-shift), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dimension", [2, 3])
def test_labels_of_the_map_cost_almost_nothing(dimension: int) -> None:
    guide = label_guide(blocks(dimension, 0), blocks(dimension, 4))
    axis = guide.moving.image.grid.affine[:-1, 0].float()
    values = [float(value(guide, shift * axis)) for shift in (4.0, 3.0, 0.0)]
    assert values[0] < 0.01 < values[1] < values[2]  # the samples of a point are rounded, and half of them in double


@pytest.mark.parametrize("dimension", [2, 3])
def test_label_gradient_by_differences(dimension: int) -> None:
    guide = label_guide(blocks(dimension, 0), blocks(dimension, 4))
    start = 2.3 * guide.moving.image.grid.affine[:-1, 0]
    shift = start.clone().requires_grad_(True)
    value(guide, shift).backward()
    gradient = shift.grad
    assert gradient is not None and float(gradient.norm()) > 0.02
    along = guide.moving.image.grid.affine[:-1, 0]
    assert float(gradient @ along) < 0  # a larger shift lowers the loss
    for axis in range(dimension):
        step = torch.zeros(dimension, dtype=torch.float64)
        step[axis] = 1e-4
        ends = [float(value(guide, start + s)) for s in (step, -step)]
        assert float(gradient[axis]) == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=2e-2, abs=2e-4)


def test_exchanged_images_give_the_same_mean() -> None:
    fixed, moving = blocks(2, 0), blocks(2, 3)
    shift = torch.tensor([0.7, -0.2], dtype=torch.float32)
    one, other = label_guide(fixed, moving), label_guide(moving, fixed)
    many = (
        replace(one, settings=GuidanceSettings(points_per_label=4000)),
        replace(other, settings=GuidanceSettings(points_per_label=4000)),
    )
    assert float(value(many[0], shift)) == pytest.approx(float(value(many[1], -shift)), abs=0.02)


def test_label_maps_of_different_grids() -> None:
    """The moving labels have half the voxel size: the same boxes in mm."""
    coarse = blocks(2, 0)
    fine_data = coarse.data.repeat_interleave(2, 0).repeat_interleave(2, 1)
    affine = coarse.grid.affine.clone()
    affine[:-1, :-1] /= 2
    affine[:-1, -1] = coarse.grid.voxel_to_world_points(torch.tensor([-0.25, -0.25], dtype=torch.float64))
    fine = Image(fine_data, Grid(tuple(fine_data.shape), affine))
    guide = label_guide(coarse, fine)
    assert float(value(guide, torch.zeros(2, dtype=torch.float32))) < 0.02


def test_as_many_labels_as_the_settings_allow() -> None:
    image = blocks(2, 0, labels=26)
    sizes = []

    def recorded(points: Tensor) -> Tensor:
        sizes.append(points.shape[1])
        return points

    guide = label_guide(image, image, labels_per_step=5, points_per_label=7)
    assert len(guide.fixed.labels) == 26
    guide(recorded, None, torch.Generator().manual_seed(0))
    assert sizes == [35]
