"""Maps that are inverse consistent by construction: exponentials of a difference of two predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor, nn

from nephi.geometry import Grid
from nephi.models.base import PairNetwork
from nephi.transforms import AffineMaps, MapPair, Maps, VelocityMaps


class VelocityNetwork(Protocol):
    """A network that predicts velocities from images on `grid`; `lattice` holds the points of a velocity field."""

    grid: Grid
    lattice: Grid

    def __call__(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Predict `(B, D, D + 1)` (matrix and vector about the centre of the box), or `(B, D, *lattice.shape)`, mm."""


class Antisymmetric(PairNetwork):
    """`phi = exp(v)` and `inverse = exp(-v)` with `v = N[A, B] - N[B, A]` (Greer et al., MICCAI 2023: ConstrICON).

    Exchanging the images changes the sign of v and so exchanges phi and its inverse, and equal images give the
    identity, for any weights of the network N. Both predictions are computed in one pass over 2 B pairs, so layers must
    not mix the pairs of a batch. `group` is a name in `GROUPS`: N is an `AffineNetwork` for groups of matrices, a
    `UNet` for flows.
    """

    def __init__(self, network: nn.Module, group: str) -> None:
        super().__init__()
        assert isinstance(network.grid, Grid) and isinstance(network.lattice, Grid)
        self.grid = network.grid
        self.lattice = network.lattice
        self.network = network
        self.exponential = GROUPS[group]

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict phi and its inverse; the penalty `velocity` of flows is that of phi, of which it is the same."""
        predicted = self.network(torch.cat([fixed, moving]), torch.cat([moving, fixed]))
        velocity = predicted[: len(fixed)] - predicted[len(fixed) :]
        forward = self.exponential(velocity, self.lattice)
        return MapPair(forward, self.exponential(-velocity, self.lattice), forward.penalties())


def _translations(velocity: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(velocity[..., :-1]), velocity[..., -1:]], dim=-1)


def _rotations(velocity: Tensor) -> Tensor:
    matrix = velocity[..., :-1]
    return torch.cat([0.5 * (matrix - matrix.mT), velocity[..., -1:]], dim=-1)


def _similarities(velocity: Tensor) -> Tensor:
    matrix = velocity[..., :-1]
    trace = matrix.diagonal(dim1=-2, dim2=-1).mean(dim=-1)
    scale = trace[:, None, None] * torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return _rotations(velocity) + nn.functional.pad(scale, (0, 1))


def _exponential(projection: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Grid], Maps]:
    """Return the exponential map of a group of matrices, whose Lie algebra is the image of `projection`."""

    def exponential(velocity: Tensor, lattice: Grid) -> AffineMaps:
        # In double precision, which costs nothing here: exp(v) exp(-v) is then the identity to 1e-14.
        generator = nn.functional.pad(projection(velocity.double()), (0, 0, 0, 1))
        matrices = torch.linalg.matrix_exp(generator)
        linear, shift = matrices[:, :-1, :-1], matrices[:, :-1, -1]
        centre = lattice.centre_world().to(linear)
        return AffineMaps(linear, shift + centre - linear @ centre)

    return exponential


GROUPS: Mapping[str, Callable[[Tensor, Grid], Maps]] = MappingProxyType(
    {
        "shift": _exponential(_translations),
        "rigid": _exponential(_rotations),
        "similarity": _exponential(_similarities),
        "affine": _exponential(lambda velocity: velocity),
        "flow": VelocityMaps,
    }
)
"""The exponential map of each group, from a velocity and its lattice. Lengths are mm: a skew matrix is a rotation."""
