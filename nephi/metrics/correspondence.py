"""How well the structures of two images correspond under a map, whatever their contrasts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.images import ImageSampler
from nephi.sampling import PointSource, patch_offsets
from nephi.transforms import Transform

RADIUS = 2  # steps from the centre of a patch to its border
REACH = 3  # steps by which a patch is moved in search of a better counterpart
FLOOR = 0.03  # standard deviation of a patch, in windows: with less it shows no structure
MOST = 400  # patches
CANDIDATES = 4000  # random points, of which those with structure are kept
AT_ONCE = 64  # patches whose counterparts are compared in one operation, to bound memory
NEARLY = 0.8  # of the best squared correlation nearby; along a surface many positions are equally good


@dataclass(frozen=True)
class Correspondence:
    """Correspondence of patches with structure under a map.

    `matched` is the fraction of the patches whose counterpart under the map is the best one nearby, or nearly: about 1
    for aligned images, near 0 for unrelated ones. `correlation` is the mean squared correlation with the counterpart.
    `patches` is the number of those with a counterpart in the moving image; without any, both are NaN.
    """

    matched: float
    correlation: float
    patches: int


class StructuredPatches:
    """Patches of the fixed image that show structure, to be compared with the moving image under several maps.

    Patches have 5^D samples, `spacing` mm apart, around random points of `source`; those of nearly constant
    intensity show nothing that could correspond, and are left out.
    """

    def __init__(self, fixed: ImageSampler, source: PointSource, spacing: float, generator: torch.Generator) -> None:
        points = source.draw(CANDIDATES, generator)
        dimension = points.shape[1]
        patches = fixed.patches(points, patch_offsets(dimension, RADIUS, spacing))
        kept = (patches.std(dim=1, correction=0) > FLOOR).nonzero()[:MOST, 0]
        self.points, self.patches = points[kept], _normalised(patches[kept])
        self.offsets = patch_offsets(dimension, RADIUS + REACH, spacing)

    @torch.no_grad()
    def under(self, transform: Transform, moving: ImageSampler) -> Correspondence:
        """Return the correspondence with the moving image under `transform`, fixed to moving points.

        The squared correlation of a patch with its first-order counterpart is compared with those at all positions
        of a lattice around it, `REACH` steps to each side. It does not depend on which of both images is brighter.
        """
        mapped, jacobians = (result.float().contiguous() for result in transform.value_and_jacobian(self.points))
        inside = moving.contains(mapped).nonzero()[:, 0]
        if not len(inside):
            return Correspondence(float("nan"), float("nan"), 0)
        correlations = torch.cat(
            [
                self._correlations(self.patches[rows], moving.patches(mapped[rows], self.offsets, jacobians[rows]))
                for rows in inside.split(AT_ONCE)
            ]
        )
        here, best = correlations[:, correlations.shape[1] // 2], correlations.amax(dim=1)
        return Correspondence(float((here >= NEARLY * best).double().mean()), float(here.double().mean()), len(here))

    def _correlations(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Return the squared correlations `(P, shifts)` of patches with those in their neighbourhoods `(P, K)`."""
        dimension, size = self.points.shape[1], 2 * RADIUS + 1
        cube = moving.reshape(len(moving), *[2 * (RADIUS + REACH) + 1] * dimension)
        for axis in range(dimension):
            cube = cube.unfold(1 + axis, size, 1)
        windows = cube.reshape(len(moving), -1, size**dimension)
        mean = windows.mean(dim=-1)
        variance = (windows.square().mean(dim=-1) - mean.square()).clamp_min(0)
        products = torch.einsum("psk,pk->ps", windows, fixed) / fixed.shape[-1]  # of zero mean and unit variance
        return products.square() / (variance + FLOOR**2)


def _normalised(patches: Tensor) -> Tensor:
    """Return patches `(P, K)` of zero mean and unit variance."""
    centred = patches - patches.mean(dim=-1, keepdim=True)
    return centred / centred.square().mean(dim=-1, keepdim=True).sqrt()
