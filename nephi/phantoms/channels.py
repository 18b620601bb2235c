"""Two channels of one phantom, each of which shows other parts of it."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from nephi.geometry import PointMap
from nephi.images import Image
from nephi.phantoms.pair import PhantomPair

NOISE = 15.0  # added to each channel, as to the phantoms


@torch.no_grad()
def two_channels(pair: PhantomPair, width: float, seed: int) -> tuple[PhantomPair, PhantomPair]:
    """Return two pairs with the motion of `pair`: stripes across the first axis show it in turn, the others are faded.

    `width`, mm, is that of a stripe of the moving images. A channel is `v m + w (1 - m)` with the values v, their mean
    over the image w, and a smooth m that is 1 in its stripes and 0 in those of the other; noise is added to each.
    """
    generator = torch.Generator().manual_seed(seed)

    def channel(sign: float) -> PhantomPair:
        def shown(points: Tensor) -> Tensor:
            return torch.sigmoid(6 * sign * torch.sin(math.pi * points[..., 0] / width))

        fixed = _faded(pair.fixed, lambda points: shown(pair.transform(points)), generator)
        return replace(pair, fixed=fixed, moving=_faded(pair.moving, shown, generator))

    return channel(1.0), channel(-1.0)


def _faded(image: Image, shown: PointMap, generator: torch.Generator) -> Image:
    values = image.data.float()
    weights = torch.cat([shown(image.grid.voxel_centres(start, stop)) for start, stop in image.grid.slabs()], dim=-1)
    mean = values.mean()
    noise = NOISE * torch.randn(values.shape, generator=generator, dtype=torch.float32)
    data = mean + (values - mean) * weights + noise
    return image.with_data(data.round().to(torch.int16))
