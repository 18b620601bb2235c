"""Hypotheses about which point of the fixed image lies where in the moving one, before any search."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.images import Image
from nephi.optimize.initial_alignment import initial_alignment
from nephi.preparation import Pair

EQUAL = 0.01  # of the longest edge: distance of both points of hypotheses that count as the same
BACKGROUND = 0.05  # of the window: intensities closer than this to those of the border belong to the background
FOREGROUND = 0.15  # of the window: intensities as different as this count in full
CUT = 0.15  # mean weight of the foreground on a face of the image that cuts it off
MOST_CUTS = 2  # faces of an image


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """The fixed point `fixed` `(D,)` lies at the moving point `moving` (world mm, float64); `name` says why."""

    name: str
    fixed: Tensor
    moving: Tensor


@dataclass(frozen=True, eq=False)
class Foreground:
    """What differs from the background, bright or dark alike: its centre, and the centre's projection on cut faces.

    A face of the image is cut if the foreground extends to it. The projection on it is where the centre of the whole
    organ lies if just half of it is visible. World mm, float64.
    """

    centre: Tensor
    cuts: tuple[Tensor, ...] = ()


def hypotheses(pair: Pair, sigma: float, edge: float) -> list[Hypothesis]:
    """Return the positions where a search begins, first that according to the headers (`position`).

    Further ones: centres of mass or masks (`moments`), of the images (`centers`) and of the foregrounds (`foreground`),
    and the latter with the face that cuts one of the images off (`cut`). Images are smoothed by `sigma` mm. Hypotheses
    equal to an earlier one, to a hundredth of `edge` (mm), are left out.
    """
    fixed, moving = (find_foreground(levels.at(sigma)) for levels in (pair.fixed_levels, pair.moving_levels))
    centre = fixed.centre
    if pair.fixed_mask is not None:
        centre = pair.fixed_mask.grid.voxel_to_world_points(pair.fixed_mask.foreground.centre)
    listed = [Hypothesis("position", centre, centre)]
    for name in ("moments", "centers"):
        listed.append(Hypothesis(name, centre, initial_alignment(pair, name)(centre)))
    listed.append(Hypothesis("foreground", fixed.centre, moving.centre))
    listed += [Hypothesis("cut", cut, moving.centre) for cut in fixed.cuts]
    listed += [Hypothesis("cut", fixed.centre, cut) for cut in moving.cuts]
    chosen: list[Hypothesis] = []
    for each in listed:
        if all(max(_distances(each, other)) > EQUAL * edge for other in chosen):
            chosen.append(each)
    return chosen


def _distances(one: Hypothesis, other: Hypothesis) -> tuple[float, float]:
    return float((one.fixed - other.fixed).norm()), float((one.moving - other.moving).norm())


def find_foreground(image: Image) -> Foreground:
    """Return the foreground of a smoothed image in windows: what differs from the median of its border voxels.

    The centre of an image without any is its own.
    """
    values, axes = image.data, range(image.dimension)
    faces = [(axis, end) for axis in axes for end in (0, image.grid.shape[axis] - 1)]
    border = torch.cat([values.select(axis, end).flatten() for axis, end in faces])
    weights = ((values - border.median()).abs() / FOREGROUND).clamp_(max=1).double()
    weights[weights < BACKGROUND / FOREGROUND] = 0
    if not bool(weights.any()):
        return Foreground(image.grid.centre_world())
    profiles = [weights.sum(dim=[b for b in axes if b != axis]) for axis in axes]
    centre = torch.stack([(p * torch.arange(len(p), dtype=torch.float64)).sum() / p.sum() for p in profiles])
    covers = [float(weights.select(axis, end).mean()) for axis, end in faces]
    order = sorted(range(len(faces)), key=lambda i: -covers[i])[:MOST_CUTS]
    cuts = [_projected(centre, *faces[i]) for i in order if covers[i] > CUT]
    return Foreground(*_in_world(image, centre, cuts))


def _projected(centre: Tensor, axis: int, end: int) -> Tensor:
    point = centre.clone()
    point[axis] = end
    return point


def _in_world(image: Image, centre: Tensor, cuts: list[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
    return image.grid.voxel_to_world_points(centre), tuple(image.grid.voxel_to_world_points(cut) for cut in cuts)
