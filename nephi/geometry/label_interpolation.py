"""Interpolation of label maps, whose values are names rather than quantities; the convention is that of `cells`."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from nephi.geometry.cells import cell_corners, flattened, multilinear


def interpolate_nearest(data: Tensor, points_voxel: Tensor) -> Tensor:
    """Return the value of the voxel nearest to each point `(..., D)`, in `data`'s own dtype."""
    d = points_voxel.shape[-1]
    flat, strides = flattened(data, d)
    index = torch.zeros(points_voxel.shape[:-1], dtype=torch.int64, device=points_voxel.device)
    for axis in range(d):
        nearest = points_voxel[..., axis].round().clamp(0, data.shape[axis] - 1).long()
        index += nearest * strides[axis]
    return flat.index_select(0, index.reshape(-1)).reshape(index.shape + flat.shape[1:])


def interpolate_majority(data: Tensor, points_voxel: Tensor) -> Tensor:
    """Return the label with the largest multilinear weight among the 2^D corners of each point `(..., D)`.

    The same as the arg-max of linearly interpolated one-hot maps, at a cost that does not depend on the number of
    labels. Labels come back in `data`'s own dtype, exact; NaN counts as a label.
    """
    corners, fractions, _ = cell_corners(data, points_voxel, data.dtype)
    d = len(fractions)
    labels = corners.reshape(2**d, *corners.shape[d:])
    weights = []
    for corner in itertools.product((0, 1), repeat=d):
        parts = [f if take else 1 - f for f, take in zip(fractions, corner, strict=True)]
        weights.append(torch.stack(parts).prod(dim=0))
    weight = torch.stack(weights)
    gaps = labels.isnan() if labels.is_floating_point() else None
    score = torch.stack([(weight * _same(labels, gaps, corner)).sum(dim=0) for corner in range(2**d)])
    return labels.gather(0, score.argmax(dim=0, keepdim=True)).squeeze(0)


def interpolate_labels(data: Tensor, points_voxel: Tensor, labels: Tensor) -> Tensor:
    """Return the multilinear interpolation `(..., L)` of the indicators `data == label` at points `(..., D)`.

    `data` `(n_1, ..., n_D)` and `labels` `(L,)` are of one dtype; labels `(..., L)` differ from point to point.
    Differentiable with respect to the points. No indicator is computed for the whole array.
    """
    corners, fractions, _ = cell_corners(data, points_voxel, data.dtype)
    return multilinear((corners.unsqueeze(-1) == labels).to(points_voxel.dtype), fractions)


def _same(labels: Tensor, gaps: Tensor | None, corner: int) -> Tensor:
    """Return at which corners `(2^D, ...)` the label is that of one of them; `gaps` is true where it is NaN."""
    matches = labels == labels[corner]
    return matches if gaps is None else matches | (gaps & gaps[corner])
