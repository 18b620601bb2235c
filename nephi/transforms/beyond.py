"""Points that a chain of transforms cannot say anything about."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from nephi.errors import warn
from nephi.transforms.composite import Composite
from nephi.transforms.displacement import DisplacementField
from nephi.transforms.transform import Transform


def warn_beyond_fields(transform: Transform, points: Tensor, name: str) -> None:
    """Warn when world points `(N, D)`, mm, of the file `name` all lie beyond a displacement field of the chain.

    The field would leave them where they are, as ITK has it: it belongs to other images, or to the other direction. The
    boxes around points and field are compared, so that few points may stand for a grid.
    """
    for member in _members(transform):
        if type(member) is DisplacementField and len(points):
            corners = member.grid.corners_world()
            if bool(((points.amax(dim=0) < corners.amin(dim=0)) | (points.amin(dim=0) > corners.amax(dim=0))).any()):
                centre, ours = (
                    ", ".join(f"{value:.4g}" for value in place.tolist())
                    for place in (member.grid.centre_world(), (points.amax(dim=0) + points.amin(dim=0)) / 2)
                )
                warn(
                    f"{name}: lies wholly beyond the displacement field (centres {ours} and {centre}, RAS mm), which "
                    "moves nothing there; check that both belong together, the frame of points, and the direction"
                )
        with torch.no_grad():
            points = member(points)


def _members(transform: Transform) -> Iterator[Transform]:
    """Yield the transforms of a chain, and of chains in it, the one that acts first first."""
    if not isinstance(transform, Composite):
        yield transform
        return
    for member in transform.transforms:
        yield from _members(member)
