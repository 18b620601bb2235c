"""Latent values that are trained themselves, one set for each training pair."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nephi.fields import LatentBatch
from nephi.models.encoder import Lattice

SPREAD = 1e-2  # standard deviation of fresh values, as in a fit


class LatentTable(nn.Module):
    """The latent values of each of `pairs` pairs, trained together with the decoders that the pairs share.

    After DeepSDF (Park et al., CVPR 2019), as in NePhi's optimisation over a set of pairs (Tian et al., ECCV 2024). A
    pair that is not in the table gets the mean of all pairs: the starting point for a refinement of its own values.
    """

    def __init__(
        self, pairs: int, global_codes: int, lattices: Sequence[Sequence[Lattice]], generator: torch.Generator
    ) -> None:
        super().__init__()

        def random_values(*shape: int) -> nn.Parameter:
            return nn.Parameter(SPREAD * torch.randn(pairs, *shape, generator=generator, dtype=torch.float32))

        rows = [sum(math.prod(lattice.shape) for lattice in levels) for levels in lattices]
        self.global_codes = random_values(global_codes)
        self.tables = nn.ParameterList(
            random_values(count, levels[0].channels) for count, levels in zip(rows, lattices, strict=True)
        )

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> LatentBatch:
        """Return the values of the pairs with the numbers `pair_ids` `(B,)`, or B times the mean over all pairs."""

        def values_of(table: Tensor) -> Tensor:
            if pair_ids is None:
                return table.mean(dim=0, keepdim=True).expand(len(fixed), *table.shape[1:])
            return table.index_select(0, pair_ids)

        return LatentBatch(values_of(self.global_codes), [values_of(table) for table in self.tables])
