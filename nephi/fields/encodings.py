"""Features of a position without trainable values: coordinates and random Fourier features.

Every encoding is a module with `channels` and `jet(unit, directions)`: unit-cube points `(N, D)` to a jet
`(1 + T, N, channels)` of derivatives by unit-cube coordinates.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Encoding(nn.Module):
    """Interface: a map from unit-cube points to features."""

    channels: int

    def jet(self, unit: Tensor, directions: int) -> Tensor:
        """Return features `(1 + directions, N, channels)` at unit-cube points `(N, D)`; directions is 0 or D."""
        raise TypeError(f"{type(self).__name__} does not implement jet")


class Coordinates(Encoding):
    """The coordinates, scaled to [-1, 1] as in IDIR."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.channels = dimension

    def jet(self, unit: Tensor, directions: int) -> Tensor:
        """Return `2 u - 1` and its constant derivative."""
        slope = 2 * torch.eye(self.channels, dtype=unit.dtype, device=unit.device)[:directions]
        return torch.cat([(2 * unit - 1)[None], slope[:, None].expand(-1, len(unit), -1)])


class FourierFeatures(Encoding):
    """`[sin(2 pi B u), cos(2 pi B u)]`, B frozen Gaussian of standard deviation sigma (Tancik et al. 2020)."""

    frequencies: Tensor

    def __init__(self, dimension: int, frequencies: int, sigma: float, generator: torch.Generator) -> None:
        super().__init__()
        self.channels = 2 * frequencies
        waves = torch.randn(dimension, frequencies, generator=generator, dtype=torch.float32)
        self.register_buffer("frequencies", sigma * waves)

    def jet(self, unit: Tensor, directions: int) -> Tensor:
        """Return the features and their closed-form derivatives."""
        waves = 2 * math.pi * self.frequencies
        phase = unit @ waves
        sine, cosine = torch.sin(phase), torch.cos(phase)
        slopes = waves[:directions, None]
        tangents = torch.cat([slopes * cosine, -slopes * sine], dim=-1)
        return torch.cat([torch.cat([sine, cosine], dim=-1)[None], tangents])
