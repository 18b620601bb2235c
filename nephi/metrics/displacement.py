"""Lengths of a displacement, as a whole and without its global part."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Lengths:
    """Mean, 95th percentile and maximum of lengths, mm."""

    mean: float
    p95: float
    maximum: float

    @classmethod
    def of(cls, vectors: Tensor) -> Lengths:
        """Return the statistics of the lengths of vectors `(N, D)`; NaN without any."""
        if not len(vectors):
            return cls(float("nan"), float("nan"), float("nan"))
        lengths = vectors.double().norm(dim=-1)
        return cls(float(lengths.mean()), float(lengths.quantile(0.95)), float(lengths.max()))


def local_displacements(points: Tensor, mapped: Tensor) -> Tensor:
    """Return what the affine map that fits best, by least squares, leaves of `mapped - points`, both `(N, D)`, mm.

    It is the local part of a displacement: 0 for a shift, a turn, or a change of size as a whole.
    """
    centre = points.double().mean(dim=0)
    columns = torch.cat([points.double() - centre, torch.ones(len(points), 1, dtype=torch.float64)], dim=1)
    weights: Tensor = torch.linalg.pinv(columns.T @ columns) @ (columns.T @ mapped.double())
    return mapped.double() - columns @ weights
