"""Branching vessels: the curves on which two smooth random functions are both zero."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.phantoms.waves import PlaneWaves

# mm: wavelengths of the random functions, from the large vessels to the small; two functions each.
SCALES = ((50.0, 80.0), (30.0, 42.0), (17.0, 24.0))
WAVES = 12  # per scale

# Pairs of functions whose common zeros are a vessel tree, and the radius of its vessels in mm. Trees that share a
# function lie on one surface and intersect, which looks like branching.
TREES = ((0, 1, 4.0), (0, 2, 2.8), (1, 3, 2.5), (2, 4, 1.9), (3, 5, 1.8), (4, 5, 1.6))

# Vessels fan out from the roots of the lungs: distances from there are scaled by (REACH / distance) ** FAN before the
# functions are evaluated, so that these vary less along the radius than across it.
ROOT = (22.0, -8.0, 0.0)  # world mm; mirrored for the left lung
CORE, REACH = 30.0, 65.0  # mm
FAN = 0.45

BLUR = 1.3  # mm: standard deviation of a scanner's point spread function, which makes thin vessels fainter


@dataclass(frozen=True, eq=False)
class Vessels:
    """Vessel trees of 1.5 to 5 mm radius, times `thickness`, about 10 mm apart, throughout the lungs."""

    scales: tuple[PlaneWaves, ...]
    thickness: float = 1.0

    @classmethod
    def random(cls, generator: torch.Generator, thickness: float = 1.0) -> Vessels:
        """Draw the functions whose common zeros define the vessels."""
        return cls(tuple(PlaneWaves.random(WAVES, 2, 3, lengths, generator) for lengths in SCALES), thickness)

    def __call__(self, points: Tensor) -> Tensor:
        """Return the fraction of vessel `(N,)`, 0 to 1, at world points `(N, 3)`: Gaussian tubes around curves."""
        # One contiguous row a coordinate: all operations but the waves are elementwise.
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
            width = (self.thickness * radius) ** 2 * shrink  # vessels taper with the distance from the root
            blurred = width + 2 * BLUR**2
            tissue *= 1 - torch.exp(-distance / blurred) * (width / blurred)
        return 1 - tissue


def _unshrunk(gradient: Tensor, out: Tensor, square: Tensor) -> Tensor:
    """Return the gradient `(3, N)` with respect to `out` of a function of `out * shrink`, divided by `shrink`."""
    return gradient - (FAN * (gradient * out).sum(dim=0) / square) * out


def _squared_distance(a: Tensor, b: Tensor, aa: Tensor, bb: Tensor, ab: Tensor) -> Tensor:
    """Return the squared distance, to first order, to the curve on which two functions a and b are zero.

    It is the length of the shortest step d with `grad a . d = -a` and `grad b . d = -b`. Unlike the sum of both squared
    distances it keeps tubes round where the two surfaces intersect at a small angle.
    """
    determinant = aa * bb - ab.square()
    return (a.square() * bb - 2 * a * b * ab + b.square() * aa) / determinant.clamp(min=1e-12)
