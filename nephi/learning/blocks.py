"""What the convolutional networks are built of."""

from __future__ import annotations

import torch
from torch import nn

SLOPE = 0.2  # of LeakyReLU, as in NePhi
GROUP = 8  # channels that are normalised together: statistics of one pair, so that a batch of 1 works


def convolution(dimension: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    """Return the convolution over 2 or 3 axes."""
    return nn.Conv2d if dimension == 2 else nn.Conv3d


def block(dimension: int, before: int, after: int, stride: int) -> nn.Sequential:
    """Return a convolution of width 3 from `before` to `after` channels, normalised, with its activation."""
    layer = convolution(dimension)(before, after, 3, stride=stride, padding=1)
    return nn.Sequential(layer, nn.GroupNorm(max(1, after // GROUP), after), nn.LeakyReLU(SLOPE))


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights from `generator` alone (He et al. 2015); biases are zero."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d | nn.Linear):
            inputs = part.weight[0].numel()
            with torch.no_grad():
                draws = torch.randn(part.weight.shape, generator=generator)
                part.weight.copy_(draws * (2 / ((1 + SLOPE**2) * inputs)) ** 0.5)
                if part.bias is not None:
                    part.bias.zero_()
