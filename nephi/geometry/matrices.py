"""Determinants and products of many small matrices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nephi.geometry.gradient_mode import full_precision


def identity_like(vectors: Tensor) -> Tensor:
    """Return the identity matrix `(D, D)` in the type and on the device of `vectors` `(..., D)`."""
    return torch.eye(vectors.shape[-1], dtype=vectors.dtype, device=vectors.device)


@full_precision()
def determinant(matrices: Tensor) -> Tensor:
    """Compute the determinants `(...)` of `(..., D, D)` matrices, D = 2 or 3, in closed form; differentiable.

    `ad - bc` in 2-D, `r_0 . (r_1 x r_2)` of the rows in 3-D: for many small matrices this is several times faster
    than `torch.linalg.det`, which factorises each.
    """
    if matrices.shape[-1] == 2:
        return determinant_of_rows([row.unbind(-1) for row in matrices.unbind(-2)])
    rows = matrices.unbind(-2)
    triple_product: Tensor = torch.linalg.vecdot(rows[0], torch.linalg.cross(rows[1], rows[2]))
    return triple_product


def determinant_of_rows(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """Compute the determinants `(...)` of matrices whose entries `rows[i][j]` are separate tensors `(...)`."""
    if len(rows) == 2:
        (a, b), (c, d) = rows
        return a * d - b * c
    (a, b, c), (d, e, f), (g, h, i) = rows
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


@full_precision()
def jacobian_product(outer: Tensor, inner: Tensor) -> Tensor:
    """Compute `outer @ inner` of Jacobians `(..., D, D)`: the chain rule for the map `outer(inner(x))`.

    An `outer` that is one matrix expanded to all points, as for an affine map, takes a third of the time.
    """
    if outer.ndim > 2 and outer.numel() > 0 and not any(outer.stride()[:-2]):
        return torch.einsum("ij,...jk->...ik", outer[(0,) * (outer.ndim - 2)], inner)
    return outer @ inner
