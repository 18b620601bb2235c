"""The plain displacement U-Net, to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.learning.encoder import GROUP, SLOPE, _initialise


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
        flat = grid.dimension == 2
        convolution = nn.Conv2d if flat else nn.Conv3d

        def block(before: int, after: int, stride: int) -> nn.Sequential:
            norm = nn.GroupNorm(max(1, after // GROUP), after)
            return nn.Sequential(convolution(before, after, 3, stride=stride, padding=1), norm, nn.LeakyReLU(SLOPE))

        widths = settings.filters
        self.first = block(2, widths[0], 1)
        self.down = nn.ModuleList(block(a, b, 2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(block(coarse + fine, fine, 1) for coarse, fine in pairwise(widths[::-1]))
        self.last = convolution(widths[0], grid.dimension, 3, padding=1)
        self.mode = "bilinear" if flat else "trilinear"
        self.register_buffer("to_world", grid.affine[:-1, :-1].float(), persistent=False)
        _initialise(self, generator)
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
