"""Latent codes of a deformation, shared by phi and its inverse."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nephi.fields import jets
from nephi.fields.grids import LatentGrids


class LatentCodes(nn.Module):
    """`z(x) = [z_global, z_local(x)]` (NePhi): one vector for the pair, and channels on a coarse lattice.

    `global_channels` or the local lattice (`shape` with `local_channels`) may be empty (0 channels).
    """

    def __init__(
        self, global_channels: int, local_channels: int, shape: Sequence[int], spread: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.channels = global_channels + local_channels
        global_code = torch.randn(global_channels, generator=generator, dtype=torch.float32)
        self.global_code = nn.Parameter(spread * global_code)
        self.local = LatentGrids([shape], local_channels, spread, generator) if local_channels else None

    def jet(self, unit: Tensor, directions: int) -> Tensor:
        """Return the codes' jet `(1 + T, N, channels)` at unit-cube points `(N, D)`."""
        same = jets.constant(self.global_code, len(unit), directions)
        return same if self.local is None else torch.cat([same, self.local.jet(unit, directions)], dim=-1)
