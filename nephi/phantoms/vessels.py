"""Branching vessels: the curves on which two smooth random functions vanish together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.phantoms.waves import PlaneWaves

# mm: wavelengths of the random functions, from the large vessels to the small; two functions each.
SCALES = ((50.0, 80.0), (30.0, 42.0), (17.0, 24.0))
WAVES = 12  # per scale

# Which two functions' common zeros are a vessel tree, and its radius in mm. Trees that share a function run in one
# surface and meet, which looks like branching.
TREES = ((0, 1, 4.0), (0, 2, 2.8), (1, 3, 2.5), (2, 4, 1.9), (3, 5, 1.8), (4, 5, 1.6))

# Vessels leave the lungs' roots and fan out: distances from there are shrunk before the functions are looked up,
# by (REACH / distance) ** FAN, so that functions vary less along the way out than across it.
ROOT = (22.0, -8.0, 0.0)  # world mm; mirrored for the left lung
CORE, REACH = 30.0, 65.0  # mm
FAN = 0.45

BLUR = 1.3  # mm: standard deviation of a scanner's point spread; thin vessels are fainter for it


@dataclass(frozen=True, eq=False)
class Vessels:
    """Trees of tubes of 1.5 to 5 mm radius, times `thickness`, that fill the lungs, some 10 mm between neighbours."""

    scales: tuple[PlaneWaves, ...]
    thickness: float = 1.0

    @classmethod
    def random(cls, generator: torch.Generator, thickness: float = 1.0) -> Vessels:
        """Draw the functions whose zeros the vessels are."""
        return cls(tuple(PlaneWaves.random(WAVES, 2, 3, lengths, generator) for lengths in SCALES), thickness)

    def __call__(self, points: Tensor) -> Tensor:
        """Return how much vessel there is at world points `(N, 3)`, 0 to 1 `(N,)`: a Gaussian around each line."""
        # One contiguous row a coordinate: everything but the waves is elementwise.
        x, y, z = points.T
        out = torch.stack([x - ROOT[0] * x.sign(), y - ROOT[1], z - ROOT[2]])
        square = out.square().sum(dim=0) + CORE**2
        shrink = (REACH**2 / square) ** (FAN / 2)
        values, slopes = [], []
        for scale in self.scales:
            value, gradient = scale.value_and_gradient((out * shrink).T)
            values += list(value.T.contiguous())
            slopes += [_unshrunk(g, out, square) for g in gradient.permute(1, 2, 0).contiguous()]
        squares = [g.square().sum(dim=0) for g in slopes]
        tissue = torch.ones_like(square)
        for a, b, radius in TREES:
            product = (slopes[a] * slopes[b]).sum(dim=0)
            distance = _squared_distance(values[a], values[b], squares[a], squares[b], product) / shrink**2
            width = (self.thickness * radius) ** 2 * shrink  # vessels taper on their way out
            blurred = width + 2 * BLUR**2
            tissue *= 1 - torch.exp(-distance / blurred) * (width / blurred)
        return 1 - tissue


def _unshrunk(gradient: Tensor, out: Tensor, square: Tensor) -> Tensor:
    """Return the gradient `(3, N)` with respect to `out` of a function of `out * shrink`, divided by `shrink`."""
    return gradient - (FAN * (gradient * out).sum(dim=0) / square) * out


def _squared_distance(a: Tensor, b: Tensor, aa: Tensor, bb: Tensor, ab: Tensor) -> Tensor:
    """Return the squared distance, to first order, to the curve where two functions vanish.

    The shortest step d with `grad a . d = -a` and `grad b . d = -b`; unlike the sum of both squared distances it keeps
    tubes round where the two surfaces cross at a small angle.
    """
    determinant = aa * bb - ab.square()
    return (a.square() * bb - 2 * a * b * ab + b.square() * aa) / determinant.clamp(min=1e-12)
