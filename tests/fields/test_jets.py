"""Every rule of forward-mode derivatives against backward passes."""

import pytest
import torch
from torch import Tensor

from nephi.fields import jets

WEIGHT = torch.tensor([[0.5, -1.0, 2.0, 0.3], [1.5, 0.2, -0.7, 1.0]], dtype=torch.float64)
BIAS = torch.tensor([0.3, -0.8], dtype=torch.float64)


def features(points: Tensor, phase: float = 0.0) -> Tensor:
    """Four features of a point that bend in every direction."""
    mixed = points @ torch.linspace(-2, 3, 4 * points.shape[1], dtype=torch.float64).reshape(-1, 4) + phase
    return 2 * torch.sin(mixed) + 0.3 * mixed.square()


@pytest.fixture
def jet_of(derivatives):
    return lambda function, points: torch.cat([function(points)[None], derivatives(function, points)])


RULES = {
    "linear": (lambda j: jets.linear(j, WEIGHT, BIAS), lambda h: h @ WEIGHT.T + BIAS),
    "linear without bias": (lambda j: jets.linear(j, WEIGHT), lambda h: h @ WEIGHT.T),
    "sine": (lambda j: jets.sine(j, 3.0), lambda h: torch.sin(3.0 * h)),
    "silu": (jets.silu, torch.nn.functional.silu),
    "activate": (lambda j: jets.activate(j, torch.tanh(j[0]), 1 - torch.tanh(j[0]) ** 2), torch.tanh),
}


@pytest.mark.parametrize("rule", RULES)
def test_rule(dimension, unit_points, jet_of, rule) -> None:
    on_jets, on_values = RULES[rule]
    points = unit_points(dimension)
    found = on_jets(jet_of(features, points))
    torch.testing.assert_close(found, jet_of(lambda x: on_values(features(x)), points))
    torch.testing.assert_close(on_jets(features(points)[None]), found[:1])  # values alone take the same path


def test_product(dimension, unit_points, jet_of) -> None:
    points = unit_points(dimension)
    a, b = jet_of(features, points), jet_of(lambda x: features(x, 1.0), points)
    expected = jet_of(lambda x: features(x) * features(x, 1.0), points)
    torch.testing.assert_close(jets.product(a, b), expected)
    torch.testing.assert_close(jets.product(a[:1], b[:1]), expected[:1])


@pytest.mark.parametrize("directions", [0, 3])
def test_constant(directions) -> None:
    jet = jets.constant(BIAS, 5, directions)
    assert jet.shape == (1 + directions, 5, 2)
    assert (jet[0] == BIAS).all() and (jet[1:] == 0).all()
