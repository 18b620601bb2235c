"""Latent values that are trained themselves, one set for each pair: the auto-decoder's place of an encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nephi.fields import LatentBatch
from nephi.models.encoder import Lattice

SPREAD = 1e-2  # standard deviation of fresh values, as in a fit


class CodeBook(nn.Module):
    """The latent values of each of `pairs` pairs, trained together with the decoders they share.

    After DeepSDF (Park et al., CVPR 2019), as NePhi's optimisation over a set of pairs (Tian et al., ECCV 2024). A pair
    that is not in the book gets the mean of all: where a refinement of its own values starts.
    """

    def __init__(
        self, pairs: int, global_codes: int, lattices: Sequence[Sequence[Lattice]], generator: torch.Generator
    ) -> None:
        super().__init__()

        def fresh(*shape: int) -> nn.Parameter:
            return nn.Parameter(SPREAD * torch.randn(pairs, *shape, generator=generator, dtype=torch.float32))

        rows = [sum(math.prod(lattice.shape) for lattice in levels) for levels in lattices]
        self.global_codes = fresh(global_codes)
        self.tables = nn.ParameterList(
            fresh(count, levels[0].channels) for count, levels in zip(rows, lattices, strict=True)
        )

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> LatentBatch:
        """Return the values of the pairs whose numbers `(B,)` are given, or B times the mean of all."""

        def values(book: Tensor) -> Tensor:
            if pair_ids is None:
                return book.mean(dim=0, keepdim=True).expand(len(fixed), *book.shape[1:])
            return book.index_select(0, pair_ids)

        return LatentBatch(values(self.global_codes), [values(table) for table in self.tables])
