"""The U-Net of ICON, GradICON and uniGradICON, which their code calls tallUNet2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from nephi.models.networks.blocks import convolution, initialise

IMAGES = 2  # the moving and the fixed one
WIDTH = 4  # of the transposed convolutions
SLOPE = 0.01  # of LeakyReLU


class RecordedNormalization(nn.Module):
    """Batch normalisation with recorded statistics, also in a training: the pairs of a batch stay independent."""

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, dtype=torch.float32))
        self.bias = nn.Parameter(torch.zeros(channels, dtype=torch.float32))
        self.register_buffer("mean", torch.zeros(channels, dtype=torch.float32))
        self.register_buffer("variance", torch.ones(channels, dtype=torch.float32))

    def forward(self, features: Tensor) -> Tensor:
        """Return the normalised features."""
        return nn.functional.batch_norm(features, self.mean, self.variance, self.weight, self.bias)


class TallUNet(nn.Module):
    """Predicts displacements `(B, D, *shape)`, fractions of the box, from images `(B, 2, *shape)`.

    The moving image is the first channel, the fixed one the second.

    `down` are the channels after each convolution of stride 2, `up` those after each transposed convolution, the finest
    first. Each of them adds a shortcut: its input, averaged over pairs of voxels or interpolated linearly, with the
    first channels cut out, or channels of zeros put before it. Activations precede convolutions. Displacements are
    those of voxels from the first centre (0) to the last centre (1) of each axis, the network's output divided by 10.
    """

    def __init__(self, dimension: int, down: Sequence[int], up: Sequence[int]) -> None:
        super().__init__()
        make, make_up = convolution(dimension), nn.ConvTranspose2d if dimension == 2 else nn.ConvTranspose3d
        float32 = torch.float32
        self.down = nn.ModuleList(
            make(before, after, 3, stride=2, padding=1, dtype=float32) for before, after in pairwise([IMAGES, *down])
        )
        self.up = nn.ModuleList(
            make_up(before, after, WIDTH, stride=2, padding=1, dtype=float32)
            for before, after in zip(_up_inputs(down, up), up, strict=True)
        )
        self.normalizations = nn.ModuleList(RecordedNormalization(channels) for channels in up)
        self.last = make(up[0] + IMAGES, dimension, 3, padding=1, dtype=float32)

    def forward(self, images: Tensor) -> Tensor:
        """Predict the displacements, components in the order of the axes."""
        pool = nn.functional.avg_pool2d if images.ndim == 4 else nn.functional.avg_pool3d
        mode = "bilinear" if images.ndim == 4 else "trilinear"
        features, skipped = images, []
        for level in self.down:
            skipped.append(features)
            coarser = level(nn.functional.leaky_relu(features, SLOPE))
            features = coarser + with_channels(pool(features, 2, ceil_mode=True), coarser.shape[1])
        for level, normalization in reversed(list(zip(self.up, self.normalizations, strict=True))):
            finer = level(nn.functional.leaky_relu(features, SLOPE))
            shortcut = with_channels(features, finer.shape[1])
            finer += nn.functional.interpolate(shortcut, scale_factor=2, mode=mode, align_corners=False)
            before = skipped.pop()
            part = tuple(slice(n) for n in before.shape[2:])  # of edges that are not multiples of 2
            features = torch.cat([normalization(finer)[(..., *part)], before], dim=1)
        displacements: Tensor = self.last(features)
        return displacements / 10

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights from `generator` alone (He et al. 2015); the displacements are zero."""
        initialise(self, generator)
        with torch.no_grad():
            for level in self.up:
                assert isinstance(level, nn.ConvTranspose2d | nn.ConvTranspose3d)
                inputs = level.in_channels * (WIDTH // 2) ** (level.weight.ndim - 2)  # of each output voxel
                normal = torch.randn(level.weight.shape, generator=generator, dtype=torch.float32)
                level.weight.copy_(normal * (2 / inputs) ** 0.5)
                assert level.bias is not None
                level.bias.zero_()
            self.last.weight.zero_()


def with_channels(features: Tensor, count: int) -> Tensor:
    """Return the first `count` channels of features `(B, C, ...)`, with channels of zeros before them if C is less."""
    missing = max(0, count - features.shape[1])
    return nn.functional.pad(features[:, :count], [0, 0] * (features.ndim - 2) + [missing, 0])


def tall_unet_parameters(dimension: int, down: Sequence[int], up: Sequence[int]) -> int:
    """Compute the number of parameters of a `TallUNet`."""
    contracting = sum((3**dimension * a + 1) * b for a, b in pairwise([IMAGES, *down]))
    expanding = sum((WIDTH**dimension * a + 3) * b for a, b in zip(_up_inputs(down, up), up, strict=True))
    return contracting + expanding + (3**dimension * (up[0] + IMAGES) + 1) * dimension


def tall_unet_bytes(shape: Sequence[int], up: Sequence[int]) -> int:
    """Estimate the memory of a prediction for one pair: four copies of the finest features."""
    return 4 * math.prod(shape) * 4 * (up[0] + IMAGES)


def _up_inputs(down: Sequence[int], up: Sequence[int]) -> list[int]:
    """Return the channels before each transposed convolution: of its resolution, and what was skipped."""
    return [below + skipped for below, skipped in zip(down, [*up[1:], 0], strict=True)]
