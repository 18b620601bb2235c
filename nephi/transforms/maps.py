"""The deformations of B pairs as functions, in general: predictions of a model, or of a fit with B = 1."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

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


def mean_penalties(penalties: Sequence[Mapping[str, Tensor]]) -> Penalties:
    """Return each penalty's mean over the tables that have it."""
    names = dict.fromkeys(name for table in penalties for name in table)
    return Penalties({name: partial(_mean_penalty, penalties, name) for name in names})


def _mean_penalty(penalties: Sequence[Mapping[str, Tensor]], name: str) -> Tensor:
    return torch.stack([table[name] for table in penalties if name in table]).mean()
