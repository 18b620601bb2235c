"""Composition of transforms, and of the maps of B pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from nephi.argument_types import matches, shown
from nephi.errors import DataError, UsageError, warn
from nephi.geometry import Grid, jacobian_product
from nephi.transforms.affine import AffineTransform
from nephi.transforms.displacement import DisplacementField
from nephi.transforms.maps import Maps, Penalties, mean_penalties
from nephi.transforms.transform import Transform, any_real_points


class Composite(Transform):
    """Apply `transforms` to the points in the given order, the **first** of the list first.

    ANTs' command line has the same order, SimpleITK's `CompositeTransform` the reverse one.
    Raises `DataError` for an empty list or transforms of different dimension.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        if not matches(transforms, Sequence[Transform]):
            raise UsageError(f"transforms: expected a list of nephi.Transform, got {shown(transforms)}")
        self.transforms = tuple(transforms)
        dimensions = sorted({t.dimension for t in self.transforms})
        if len(dimensions) != 1:
            raise DataError(f"a composite needs transforms of one dimension, got {dimensions or 'none'}")

    def __repr__(self) -> str:
        """Return the transforms in one line, the first one applied first."""
        return f"{type(self).__name__}({', '.join(map(repr, self.transforms))})"

    @property
    def dimension(self) -> int:
        """Number of coordinates D, 2 or 3."""
        return self.transforms[0].dimension

    @property
    def cells(self) -> Grid | None:
        """The cells of the only transform that is not affine, mapped back by the affine maps before it; else None."""
        others = [index for index, member in enumerate(self.transforms) if as_affine(member) is None]
        cells = self.transforms[others[0]].cells if len(others) == 1 else None
        if cells is None or others == [0]:
            return cells
        before = as_affine(Composite(self.transforms[: others[0]]))
        assert before is not None
        return cells.transformed(before.inverse().matrix)

    @property
    def has_continuous_jacobian(self) -> bool:
        """Whether the Jacobians of all transforms are continuous."""
        return all(member.has_continuous_jacobian for member in self.transforms)

    @property
    def unfolded_sign(self) -> int:
        """The product of those of the transforms."""
        return math.prod(member.unfolded_sign for member in self.transforms)

    @property
    def is_iterative(self) -> bool:
        """Whether the last transform, which returns the values of the composition, is iterative."""
        return self.transforms[-1].is_iterative

    def solve_from(self, points: Tensor, guess: Tensor) -> Tensor:
        """Return the values at points `(..., D)`, in mm; the last transform starts from `guess`."""
        for transform in self.transforms[:-1]:
            points = transform(points)
        return self.transforms[-1].solve_from(points, guess)

    @any_real_points
    def __call__(self, points: Tensor) -> Tensor:
        """Return the composition's values at points `(..., D)`, in mm."""
        return composed(self.transforms, points)

    @any_real_points
    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the composition's values and Jacobians at points `(..., D)`."""
        return composed_with_jacobian(self.transforms, points)


class MirroredComposite(Composite):
    """A composition with an affine map that reflects by intention, as after the initial alignment `auto-mirrored`."""

    @property
    def unfolded_sign(self) -> int:
        """The sign that the reflection gives to det J."""
        return -super().unfolded_sign


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


class Differentiable(Protocol):
    """A function of points that has a Jacobian: a `Transform`, or the `Maps` of several pairs."""

    def __call__(self, points: Tensor) -> Tensor:
        """Return the values at points `(..., D)`."""

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values and the Jacobians `(..., D, D)`."""


def composed(members: Sequence[Differentiable], points: Tensor) -> Tensor:
    """Return the values of the composition of `members` at points, mm; the **first** member is applied first."""
    for member in members:
        points = member(points)
    return points


def composed_with_jacobian(members: Sequence[Differentiable], points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values of a composition, and the product of its members' Jacobians, the last on the left.

    Raises `IndexError` for a composition without members.
    """
    points, jacobian = members[0].value_and_jacobian(points)
    for member in members[1:]:
        points, outer = member.value_and_jacobian(points)
        jacobian = jacobian_product(outer, jacobian)
    return points, jacobian


def as_affine(transform: Transform) -> AffineTransform | None:
    """Return an affine transform or a (nested) composite of affine transforms as one; None for any other transform."""
    if isinstance(transform, AffineTransform):
        return transform
    if not isinstance(transform, Composite):
        return None
    product = torch.eye(transform.dimension + 1, dtype=torch.float64)
    for member in map(as_affine, transform.transforms):
        if member is None:
            return None
        product = member.matrix @ product
    product[-1] = torch.eye(transform.dimension + 1, dtype=torch.float64)[-1]
    return AffineTransform(product)


def composed_affine(*affines: AffineTransform) -> AffineTransform:
    """Return the composition of affine maps, the **first** applied first, as one affine map."""
    result = as_affine(Composite(affines))
    assert result is not None
    return result


def warn_beyond_fields(transform: Transform, points: Tensor, name: str) -> None:
    """Warn when all world points `(N, D)`, mm, of the file `name` lie outside a displacement field of the transform.

    Outside its grid a field is the identity, as in ITK: points there suggest a field of other images, or of the other
    direction. Only the bounding boxes of points and field are compared, so that the corners of a grid suffice.
    """
    for member in _flattened(transform):
        if type(member) is DisplacementField and len(points):
            corners = member.grid.corners_world()
            if bool(((points.amax(dim=0) < corners.amin(dim=0)) | (points.amin(dim=0) > corners.amax(dim=0))).any()):
                field_centre, points_centre = (
                    ", ".join(f"{value:.4g}" for value in centre.tolist())
                    for centre in (member.grid.centre_world(), (points.amax(dim=0) + points.amin(dim=0)) / 2)
                )
                warn(
                    f"{name}: lies wholly outside the displacement field (centres {points_centre} and {field_centre}, "
                    "RAS mm), which is 0 there; check that both belong together, the frame of points, and the direction"
                )
        with torch.no_grad():
            points = member(points)


def _flattened(transform: Transform) -> Iterator[Transform]:
    """Yield the transforms of a composite, and of composites in it, in the order in which they are applied."""
    if not isinstance(transform, Composite):
        yield transform
        return
    for member in transform.transforms:
        yield from _flattened(member)
