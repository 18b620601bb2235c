"""Many small matrices at once."""

from __future__ import annotations

import torch
from torch import Tensor


def determinant(matrices: Tensor) -> Tensor:
    """Return the determinants `(...)` of `(..., D, D)` matrices, D = 2 or 3, in closed form; differentiable.

    `ad - bc` in 2-D, `r_0 . (r_1 x r_2)` of the rows in 3-D: for many small matrices several times faster than
    `torch.linalg.det`, which factorises each.
    """
    rows = matrices.unbind(-2)
    if len(rows) == 2:
        (a, b), (c, d) = rows[0].unbind(-1), rows[1].unbind(-1)
        return a * d - b * c
    triple_product: Tensor = torch.linalg.vecdot(rows[0], torch.linalg.cross(rows[1], rows[2]))
    return triple_product
