"""The plain displacement U-Net, to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.models.blocks import block, convolution, initialise


@dataclass(frozen=True)
class UNetSettings:
    """`filters` of each resolution, from the finest; each is half of the one before."""

    filters: tuple[int, ...] = (16, 32, 32, 64, 64)

    def __post_init__(self) -> None:
        if len(self.filters) < 2 or min(self.filters) < 1:
            raise UsageError(f"unet.filters: expected two or more of 1 or more, got {self.filters}")


class DisplacementUNet(nn.Module):
    """A displacement for every voxel of the fixed grid (VoxelMorph's form; Balakrishnan et al., TMI 2019).

    Images `(B, 1, *shape)` on `grid`; returns the displacement `(B, D, *shape)` in world mm, RAS components, from fixed
    to moving points. It starts as the identity.
    """

    to_world: Tensor

    def __init__(self, settings: UNetSettings, grid: Grid, generator: torch.Generator) -> None:
        super().__init__()
        d = grid.dimension
        widths = settings.filters
        self.first = block(d, 2, widths[0], stride=1)
        self.down = nn.ModuleList(block(d, a, b, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(block(d, coarse + fine, fine, stride=1) for coarse, fine in pairwise(widths[::-1]))
        self.last = convolution(d)(widths[0], d, 3, padding=1, dtype=torch.float32)
        self.mode = "bilinear" if d == 2 else "trilinear"
        self.register_buffer("to_world", grid.affine[:-1, :-1].float(), persistent=False)
        initialise(self, generator)
        with torch.no_grad():
            self.last.weight.zero_()

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Return the displacement."""
        kept = [self.first(torch.cat([fixed, moving], dim=1))]
        for level in self.down:
            kept.append(level(kept[-1]))
        features = kept.pop()
        for level in self.up:
            finer = kept.pop()
            features = nn.functional.interpolate(features, size=finer.shape[2:], mode=self.mode, align_corners=False)
            features = level(torch.cat([features, finer], dim=1))
        return torch.einsum("ij,bj...->bi...", self.to_world, self.last(features))
