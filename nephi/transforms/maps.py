"""The deformations of B pairs as functions: predictions of a model, or of a fit with B = 1."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from nephi.geometry import Grid, full_precision, identity_like, interpolate_tables, interpolate_with_gradient
from nephi.transforms.affine import AffineTransform
from nephi.transforms.composite import Composite, composed, composed_with_jacobian
from nephi.transforms.displacement import ContinuedDisplacement
from nephi.transforms.transform import Transform


class Penalties(Mapping[str, Tensor]):
    """Scalars by name, each computed when it is read: an objective reads only those that it weighs."""

    def __init__(self, functions: Mapping[str, Callable[[], Tensor]] | None = None) -> None:
        self._functions = functions or {}

    def __getitem__(self, name: str) -> Tensor:
        return self._functions[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)


class Maps(abc.ABC):
    """Deformations of B pairs, each a function of world points (mm, RAS).

    Points are `(B, N, D)`, as many for each pair; values and Jacobians are differentiable once with respect to the
    points and to the parameters of the maps, in plain operations.
    """

    @abc.abstractmethod
    def __len__(self) -> int:
        """Return the number of pairs B."""

    @abc.abstractmethod
    def __call__(self, points: Tensor) -> Tensor:
        """Return the values `(B, N, D)` at points `(B, N, D)`, mm."""

    @abc.abstractmethod
    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values, and `jacobian[b, n, i, j] = d phi_i / d x_j`, `(B, N, D)` and `(B, N, D, D)`."""

    @abc.abstractmethod
    def rows(self, pairs: slice) -> Maps:
        """Return the deformations of some of the pairs, as views: of one half of a batch, for example."""

    @abc.abstractmethod
    def one(self, pair: int) -> Transform:
        """Return the deformation of one pair as a `Transform`, on the CPU and detached: to be stored or refined."""

    def flattened(self) -> list[Maps]:
        """Return the maps that are applied one after the other, the first one first: for most kinds itself alone."""
        return [self]

    def inverts(self, other: Maps) -> bool:
        """Return whether these maps and `other` are stored together, as one kind of step with both directions.

        They are where each follows from the other (an affine map and its inverse, the flows of a velocity and of its
        negative) or where both are parts of one object (the two fields of a pair). Symmetric; no approximate inverse.
        """
        return False

    def penalties(self) -> Penalties:
        """Return scalars by name that an objective may weigh, besides the terms of values and Jacobians.

        `codes`: the mean |z| over the latent values of all pairs, where a map has some; `code_norms`: the summed mean
        lengths of their codes.
        """
        return Penalties()


class MapPair(NamedTuple):
    """`forward` maps fixed to moving points; `inverse`, where it is predicted or fitted, moving to fixed points.

    `penalties` are scalars by name, as `Maps.penalties`.
    """

    forward: Maps
    inverse: Maps | None = None
    penalties: Mapping[str, Tensor] = Penalties()


class SingleMap(Maps):
    """One transform as the maps of B = 1 pairs."""

    def __init__(self, transform: Transform, penalties: Penalties | None = None) -> None:
        self.transform = transform
        self._penalties = penalties or Penalties()

    def __len__(self) -> int:
        return 1

    def __call__(self, points: Tensor) -> Tensor:
        """Return the values `(1, N, D)`."""
        return self.transform(points)

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values and Jacobians `(1, N, D, D)`."""
        return self.transform.value_and_jacobian(points)

    def rows(self, pairs: slice) -> SingleMap:
        """Return the maps themselves: there is only one pair."""
        if len(range(1)[pairs]) != 1:
            raise IndexError(f"expected a slice that holds the only pair, got {pairs}")
        return self

    def one(self, pair: int) -> Transform:
        """Return the transform itself."""
        return self.transform

    def penalties(self) -> Penalties:
        """Return the penalties passed with the transform."""
        return self._penalties


class AffineMaps(Maps):
    """`phi_b(x) = A_b x + t_b`: `matrices` `(B, D, D)`, `translations` `(B, D)`, mm."""

    def __init__(self, matrices: Tensor, translations: Tensor) -> None:
        self.matrices = matrices
        self.translations = translations

    def __len__(self) -> int:
        return len(self.matrices)

    @full_precision()
    def __call__(self, points: Tensor) -> Tensor:
        """Return the values `(B, N, D)`."""
        return points @ self.matrices.to(points).transpose(-1, -2) + self.translations.to(points).unsqueeze(1)

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values, and the matrices expanded to `(B, N, D, D)`."""
        return self(points), self.matrices.to(points).unsqueeze(1).expand(-1, points.shape[1], -1, -1)

    def inverse(self) -> AffineMaps:
        """Return the exact inverses; NaN or infinite values where a matrix is singular."""
        matrices = torch.linalg.inv_ex(self.matrices)[0]
        return AffineMaps(matrices, -(matrices @ self.translations.to(matrices).unsqueeze(-1)).squeeze(-1))

    def to(self, points: Tensor) -> AffineMaps:
        """Return the maps in the type and on the device of `points`."""
        return AffineMaps(self.matrices.to(points), self.translations.to(points))

    def rows(self, pairs: slice) -> AffineMaps:
        """Return the affine maps of some of the pairs."""
        return AffineMaps(self.matrices[pairs], self.translations[pairs])

    def one(self, pair: int) -> AffineTransform:
        """Return the affine map of one pair."""
        matrix = torch.eye(self.matrices.shape[-1] + 1, dtype=torch.float64)
        matrix[:-1, :-1] = self.matrices[pair].detach().cpu()
        matrix[:-1, -1] = self.translations[pair].detach().cpu()
        return AffineTransform(matrix)

    def inverts(self, other: Maps) -> bool:
        """Return whether the products with the matrices of `other` are the identity to single precision."""
        if not isinstance(other, AffineMaps) or len(other) != len(self):
            return False
        identity = torch.eye(self.matrices.shape[-1], dtype=torch.float64)
        for pair in range(len(self)):
            product = other.one(pair).matrix @ self.one(pair).matrix
            shift = max(1.0, float(self.translations[pair].detach().abs().max()))
            if (product[:-1, :-1] - identity).abs().max() > 1e-5 or product[:-1, -1].abs().max() > 1e-5 * shift:
                return False
        return True


class DisplacementMaps(Maps):
    """`phi_b(x) = x + u_b(x)`, u interpolated linearly from `displacement` `(B, D, *shape)`, mm, on one grid.

    Beyond the grid u continues with its value at the border. The Jacobian is that of the interpolant, in closed form:
    constant along each axis within a cell, with jumps at the cells' faces.
    """

    def __init__(self, displacement: Tensor, grid: Grid) -> None:
        self.displacement = displacement
        self.grid = grid
        self._tables = displacement.movedim(1, -1).contiguous()  # all components of a voxel next to each other

    def __len__(self) -> int:
        return len(self.displacement)

    def __call__(self, points: Tensor) -> Tensor:
        """Return the values `(B, N, D)`."""
        return points + interpolate_tables(self.displacement, self.grid.world_to_voxel_points(points))

    @full_precision()
    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values, and `I + du/dx`, `(B, N, D, D)`."""
        voxels = self.grid.world_to_voxel_points(points)
        pairs = [interpolate_with_gradient(u, part) for u, part in zip(self._tables, voxels, strict=True)]
        by_voxel = torch.stack([gradient for _, gradient in pairs])
        by_world = by_voxel @ self.grid.inverse_affine[:-1, :-1].to(points)
        return points + torch.stack([value for value, _ in pairs]), identity_like(points) + by_world

    def rows(self, pairs: slice) -> DisplacementMaps:
        """Return the displacements of some of the pairs."""
        return DisplacementMaps(self.displacement[pairs], self.grid)

    def one(self, pair: int) -> ContinuedDisplacement:
        """Return the displacement field of one pair."""
        return ContinuedDisplacement(self._tables[pair].detach().float().cpu(), self.grid)


class ComposedMaps(Maps):
    """Maps of the same B pairs applied one after the other, the **first** of the list first."""

    def __init__(self, members: Sequence[Maps]) -> None:
        self.members = tuple(members)

    def __len__(self) -> int:
        return len(self.members[0])

    def __call__(self, points: Tensor) -> Tensor:
        """Return the values `(B, N, D)`."""
        return composed(self.members, points)

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values, and the product of the members' Jacobians."""
        return composed_with_jacobian(self.members, points)

    def rows(self, pairs: slice) -> ComposedMaps:
        """Return the compositions of some of the pairs."""
        return ComposedMaps([member.rows(pairs) for member in self.members])

    def one(self, pair: int) -> Composite:
        """Return the composition of one pair's transforms."""
        return Composite([member.one(pair) for member in self.members])

    def flattened(self) -> list[Maps]:
        """Return the members, and those of members that are compositions, in the order in which they are applied."""
        return [member for part in self.members for member in part.flattened()]

    def inverts(self, other: Maps) -> bool:
        """Return whether `other` has as many members, which invert these in reverse order."""
        members, others = self.flattened(), other.flattened()[::-1]
        return len(members) == len(others) and all(one.inverts(two) for one, two in zip(members, others, strict=True))

    def penalties(self) -> Penalties:
        """Return the means over the members that have the penalty."""
        return mean_penalties([member.penalties() for member in self.members])


def mean_penalties(penalties: Sequence[Mapping[str, Tensor]]) -> Penalties:
    """Return each penalty's mean over the tables that have it."""
    names = dict.fromkeys(name for table in penalties for name in table)
    return Penalties({name: partial(_mean_penalty, penalties, name) for name in names})


def _mean_penalty(penalties: Sequence[Mapping[str, Tensor]], name: str) -> Tensor:
    return torch.stack([table[name] for table in penalties if name in table]).mean()
