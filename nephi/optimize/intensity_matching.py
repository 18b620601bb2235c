"""Giving one image the contrast of the other, so that measures for images of one contrast can compare them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nephi.fields import ComposedFieldPair, FieldPair
from nephi.images import Image, ImageSampler, Pyramid
from nephi.metrics import inside_mask, slab_inside
from nephi.preparation import Pair
from nephi.sampling import point_source

NODES = 32  # of a curve between 0 and 1
SAMPLES = 200_000  # a curve is fitted to
LEAST_SHARE = 1e-4  # of the samples: a node with fewer says nothing and takes the mean
LEAST_SMOOTHING = 0.7  # voxels; noise in the image that predicts flattens the curve
TONES = 4095  # steps of the window that voxels are redrawn in


@dataclass(frozen=True)
class Curve:
    """A piecewise linear function on [0, 1], by its heights at equal distances.

    `explained` is a share of variance; `dark` the value below which one in twenty lay that the curve was fitted to.
    """

    heights: Tensor
    explained: float = 0.0
    dark: float = 0.0

    def __call__(self, values: Tensor) -> Tensor:
        """Return the function at `values` of any shape, clamped to [0, 1]."""
        low, part = _places(values)
        return torch.lerp(self.heights[low], self.heights[low + 1], part)


@torch.no_grad()
def match_intensities(
    pair: Pair, fields: FieldPair | ComposedFieldPair, smoothing: float, generator: torch.Generator
) -> Pair:
    """Return the pair with one image in the other's contrast, as seen through fields that align them roughly.

    Two curves are fitted to intensities at matching points of the masks, smoothed by `smoothing` mm: one predicts
    moving from fixed intensities (their conditional mean, the regression behind the correlation ratio of Roche et al.,
    MICCAI 1998), the other fixed from moving ones. The one that explains more of the variance is applied to the voxels
    of its image, for a contrast that rises and falls can be predicted but not inverted. Background stays
    background: an image's least value, and what is dark outside of its mask. Next to it even a true curve would draw
    edges that the other image does not have.
    """
    fixed, moving = _matching_intensities(pair, fields, smoothing, generator)
    if not len(fixed):
        return pair
    forward, backward = fit_curve(fixed, moving), fit_curve(moving, fixed)
    if forward.explained >= backward.explained:
        return replace(pair, fixed_levels=_redrawn(pair.fixed_levels, pair.fixed_mask, forward))
    return replace(pair, moving_levels=_redrawn(pair.moving_levels, pair.moving_mask, backward))


def fit_curve(source: Tensor, target: Tensor) -> Curve:
    """Return the curve that predicts `target` from `source`, both `(N,)` in [0, 1], N >= 1."""
    low, part = _places(source)
    places = torch.cat([low, low + 1])
    shares = torch.cat([1 - part, part]) / len(source)
    mass = torch.bincount(places, shares, NODES)
    total = torch.bincount(places, shares * target.repeat(2), NODES)
    heights = torch.where(mass > LEAST_SHARE, total / mass.clamp_min(LEAST_SHARE), target.mean()).to(target)
    left = (target - Curve(heights)(source)).square().mean()
    dark = float(source.kthvalue(1 + len(source) // 20).values)
    return Curve(heights, float(1 - left / target.var(correction=0).clamp_min(1e-12)), dark)


def _matching_intensities(
    pair: Pair, fields: FieldPair | ComposedFieldPair, smoothing: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    edge = float(pair.fixed.grid.spacing.max())
    sigma = max(smoothing, LEAST_SMOOTHING * edge)
    points = point_source(pair.fixed, pair.fixed_mask).draw(SAMPLES, generator).to(pair.fixed.data.device)
    moved = fields.forward_field(points)
    kept = ImageSampler(pair.moving).contains(moved)
    if pair.moving_mask is not None:
        kept &= inside_mask(pair.moving_mask, moved.cpu()).to(kept.device)
    fixed, moving = (ImageSampler(p.at(sigma)) for p in (pair.fixed_levels, pair.moving_levels))
    return fixed(points[kept]).cpu(), moving(moved[kept]).cpu()  # where sums do not depend on the threads' order


def _redrawn(levels: Pyramid, mask: Image | None, curve: Curve) -> Pyramid:
    """Return the levels of the windowed image with `curve` applied to all but its background."""
    image, (low, high) = levels.image, levels.window
    tones = (TONES * curve(torch.linspace(0, 1, TONES + 1, dtype=torch.float32))).round().short().to(image.data.device)
    background = image.data.amin()
    drawn = torch.empty_like(image.data, dtype=torch.int16)
    for start, stop in image.grid.slabs(2_000_000):
        voxels = image.data[..., start:stop]
        value = (voxels.float() - low).div_(high - low).clamp_(0, 1)
        seen = voxels > background
        if mask is not None:
            seen &= (value >= curve.dark) | slab_inside(mask, image.grid, start, stop).to(seen.device)
        drawn[..., start:stop] = torch.where(seen, tones[value.mul_(TONES).round_().int()], 0)
    return Pyramid(Image(drawn, image.grid, name=image.name), (0.0, float(TONES)), levels.detail)


def _places(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the node below each value, and the place between it and the next."""
    position = values.clamp(0, 1) * (NODES - 1)
    low = position.floor().clamp_max(NODES - 2)
    return low.long(), position - low
