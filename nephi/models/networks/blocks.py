"""Layers of the convolutional networks, and their sizes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nephi.errors import UsageError
from nephi.tables import short_repr

MOST_RESOLUTIONS = 16  # from 2^16 voxels along an axis to one
SLOPE = 0.2  # of LeakyReLU, as in NePhi
GROUP = 8  # channels that are normalised together: statistics of one pair, so that a batch of 1 works
BYTES_PER_FEATURE = 30  # measured: values, normalised and activated, and the same on the upward path


class Convolution3d(nn.Conv3d):
    """A convolution over 3 axes, a few times faster on one CPU thread where no gradient is recorded.

    For a batch of 1 torch then chooses a slow implementation; an encoder at 96 cubed takes 0.08 s by oneDNN instead of
    0.32 s.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Return the convolved features."""
        if torch.is_grad_enabled() or not _supported_by_onednn(features):
            return super().forward(features)
        assert not isinstance(self.padding, str)
        sizes = self.padding, self.stride, self.dilation
        convolved: Tensor = torch.mkldnn_convolution(features, self.weight, self.bias, *sizes, self.groups)
        return convolved


def _supported_by_onednn(features: Tensor) -> bool:
    supported_type = features.device.type == "cpu" and features.dtype == torch.float32
    return supported_type and features.ndim == 5 and torch.backends.mkldnn.is_available()


def convolution(dimension: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    """Return the convolution over 2 or 3 axes."""
    return nn.Conv2d if dimension == 2 else Convolution3d


def block(dimension: int, before: int, after: int, stride: int, normalized: bool = True) -> nn.Sequential:
    """Return a convolution of width 3 from `before` to `after` channels, with normalisation and activation."""
    layers: list[nn.Module] = [convolution(dimension)(before, after, 3, stride=stride, padding=1, dtype=torch.float32)]
    if normalized:
        layers.append(nn.GroupNorm(_groups(after), after, dtype=torch.float32))
    return nn.Sequential(*layers, nn.LeakyReLU(SLOPE))


def block_parameters(dimension: int, before: int, after: int, normalized: bool = True) -> int:
    """Compute the number of parameters of `block`."""
    return (3**dimension * before + 1) * after + (2 * after if normalized else 0)


def check_filter_count(name: str, filters: Sequence[int], least: int = 1) -> None:
    """Raise `UsageError` for channels of fewer resolutions than `least`, 1 or 2, or of too many, or below 1.

    `name` is that of the setting.
    """
    if not least <= len(filters) <= MOST_RESOLUTIONS or min(filters) < 1:
        expected = "one positive integer" if least == 1 else "two positive integers"
        raise UsageError(
            f"{name}: expected at least {expected}, at most {MOST_RESOLUTIONS}, got {short_repr(tuple(filters))}"
        )


def check_filters(name: str, filters: Sequence[int], shapes: Sequence[Sequence[int]]) -> None:
    """Raise `UsageError` for a feature map of one channel and one voxel, which cannot be normalised.

    `shapes` are those of the feature maps of `filters` channels, `name` is that of the setting.
    """
    for count, shape in zip(filters, shapes, strict=True):
        if count == 1 and max(shape) == 1:
            raise UsageError(
                f"{name}: expected fewer resolutions, or 2 channels or more where one voxel is left, got "
                f"{short_repr(tuple(filters))}"
            )


def halved(shape: Sequence[int], times: int) -> tuple[int, ...]:
    """Return the shape of the feature map after so many blocks of stride 2."""
    return tuple(-(-n // 2**times) for n in shape)


def _groups(channels: int) -> int:
    """Return the number of equal groups into which channels are divided for normalisation, of about `GROUP` each."""
    return next(n for n in range(max(1, channels // GROUP), 0, -1) if channels % n == 0)


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights from `generator` alone (He et al. 2015); biases are zero."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d | nn.Linear):
            inputs = part.weight[0].numel()
            with torch.no_grad():
                normal = torch.randn(part.weight.shape, generator=generator, dtype=torch.float32)
                part.weight.copy_(normal * (2 / ((1 + SLOPE**2) * inputs)) ** 0.5)
                if part.bias is not None:
                    part.bias.zero_()
