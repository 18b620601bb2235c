"""Test labels, contrasts and asymmetry of the bodies."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nephi.phantoms import Bodies
from nephi.phantoms.bodies import LEVELS


def draw(dimension: int, count: int = 4) -> tuple[Bodies, Tensor]:
    """Bodies of size 30 mm, and points in and around them."""
    generator = torch.Generator().manual_seed(2)
    bodies = Bodies.random(count, dimension, 30.0, generator)
    line = torch.linspace(-35, 35, 41 if dimension == 2 else 21, dtype=torch.float32)
    return bodies, torch.cartesian_prod(*[line] * dimension).expand(count, -1, -1)


@pytest.mark.parametrize("dimension", [2, 3])
def test_intensities_are_those_of_the_parts(dimension: int) -> None:
    bodies, points = draw(dimension)
    contrasts = torch.tensor([0, 1, 0, 1])
    values, labels = bodies.intensities(points, contrasts), bodies.labels(points)
    assert set(labels.unique().tolist()) == {0, 1, 2, 3}
    assert float(values.min()) >= 0 and float(values.max()) <= 1
    for body, contrast in enumerate(contrasts.tolist()):
        for label, level in enumerate((0.0, *LEVELS[contrast][1:])):
            inside = values[body][labels[body] == label]
            deepest = inside.min() if level < 0.3 else inside.max() if level == 1.0 else inside.median()
            assert float(deepest) == pytest.approx(level, abs=0.1)
    assert not torch.equal(bodies.centres[0], bodies.centres[1])


@pytest.mark.parametrize("dimension", [2, 3])
def test_no_rotation_or_reflection_maps_a_body_to_itself(dimension: int) -> None:
    """A fraction of the body changes its label under half-turns and quarter-turns, and in the mirror."""
    bodies, points = draw(dimension)
    labels = bodies.labels(points)
    changes = [torch.diag(torch.tensor([-1.0] + [1.0] * (dimension - 1)))]
    for axis in range(dimension - 1 if dimension == 3 else 1):
        for angle in (math.pi / 2, math.pi, 0.5):
            turn = torch.eye(dimension)
            turn[axis, axis] = turn[axis + 1, axis + 1] = math.cos(angle)
            turn[axis, axis + 1], turn[axis + 1, axis] = -math.sin(angle), math.sin(angle)
            changes.append(turn)
    for change in changes:
        turned = bodies.labels(points @ change.T)
        assert float(((turned != labels) & (labels > 0)).sum() / (labels > 0).sum()) > 0.05
