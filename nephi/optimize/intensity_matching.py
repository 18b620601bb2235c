"""Match the intensities of two images of different contrast, so that monomodal similarity measures apply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nephi.fields import ComposedFieldPair, FieldPair
from nephi.images import Image, ImageSampler, Pyramid
from nephi.metrics import inside_mask, slab_inside
from nephi.preparation import Pair
from nephi.sampling import point_source

NODES = 32  # of a curve on [0, 1]
SAMPLES = 200_000  # to which a curve is fitted
LEAST_WEIGHT = 1e-4  # fraction of the samples; a node with fewer is unreliable and set to the mean
LEAST_SMOOTHING = 0.7  # voxels; noise in the predicting image flattens the curve
GREY_LEVELS = 4095  # of an image after the curve is applied


@dataclass(frozen=True)
class Curve:
    """A piecewise linear function on [0, 1], given by its heights at equidistant nodes.

    `explained` is the explained fraction of the variance, `dark` the 5th percentile of the values it was fitted to.
    """

    heights: Tensor
    explained: float = 0.0
    dark: float = 0.0

    def __call__(self, values: Tensor) -> Tensor:
        """Return the function at `values` of any shape, clamped to [0, 1]."""
        node, weight = _nodes(values)
        return torch.lerp(self.heights[node], self.heights[node + 1], weight)


@torch.no_grad()
def match_intensities(
    pair: Pair, fields: FieldPair | ComposedFieldPair, smoothing: float, generator: torch.Generator
) -> Pair:
    """Return the pair with the intensities of one image mapped to those of the other, which `fields` roughly align.

    Two curves are fitted to intensities at corresponding points of the masks, smoothed by `smoothing` mm: one predicts
    moving from fixed intensities (their conditional mean, the regression of the correlation ratio, Roche et al., MICCAI
    1998), the other fixed from moving ones. The curve that explains more of the variance is applied to its image: a
    contrast that is not monotonic can be predicted, but not inverted. Background is kept: the minimum of the image, and
    dark voxels outside the mask. A curve would otherwise create edges there that the other image does not have.
    """
    fixed, moving = _corresponding_intensities(pair, fields.forward_field, smoothing, generator)
    if not len(fixed):
        return pair
    forward, backward = fit_curve(fixed, moving), fit_curve(moving, fixed)
    if forward.explained >= backward.explained:
        return replace(pair, fixed_levels=_apply_curve(pair.fixed_levels, pair.fixed_mask, forward))
    return replace(pair, moving_levels=_apply_curve(pair.moving_levels, pair.moving_mask, backward))


@torch.no_grad()
def explained_fraction(pair: Pair, smoothing: float, generator: torch.Generator) -> float:
    """Return the fraction of the variance that the better of both curves explains in a globally aligned pair.

    1 without any corresponding intensities, of which nothing is known.
    """
    fixed, moving = _corresponding_intensities(pair, lambda points: points, smoothing, generator)
    if not len(fixed):
        return 1.0
    return max(fit_curve(fixed, moving).explained, fit_curve(moving, fixed).explained)


def fit_curve(source: Tensor, target: Tensor) -> Curve:
    """Fit the curve that predicts `target` from `source`, both `(N,)` in [0, 1], N >= 1."""
    node, weight = _nodes(source)
    nodes = torch.cat([node, node + 1])
    weights = torch.cat([1 - weight, weight]) / len(source)
    total_weight = torch.bincount(nodes, weights, NODES)
    weighted_sum = torch.bincount(nodes, weights * target.repeat(2), NODES)
    mean = weighted_sum / total_weight.clamp_min(LEAST_WEIGHT)
    heights = torch.where(total_weight > LEAST_WEIGHT, mean, target.mean()).to(target)
    residual = (target - Curve(heights)(source)).square().mean()
    dark = float(source.kthvalue(1 + len(source) // 20).values)
    return Curve(heights, float(1 - residual / target.var(correction=0).clamp_min(1e-12)), dark)


def _corresponding_intensities(
    pair: Pair, transform: Callable[[Tensor], Tensor], smoothing: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    sigma = max(smoothing, LEAST_SMOOTHING * float(pair.fixed.grid.spacing.max()))
    points = point_source(pair.fixed, pair.fixed_mask).draw(SAMPLES, generator).to(pair.fixed.data.device)
    moving_points = transform(points)
    inside = ImageSampler(pair.moving).contains(moving_points)
    if pair.moving_mask is not None:
        inside &= inside_mask(pair.moving_mask, moving_points.cpu()).to(inside.device)
    fixed, moving = (ImageSampler(p.at(sigma)) for p in (pair.fixed_levels, pair.moving_levels))
    # On the CPU, where the sums of a fit are deterministic.
    return fixed(points[inside]).cpu(), moving(moving_points[inside]).cpu()


def _apply_curve(levels: Pyramid, mask: Image | None, curve: Curve) -> Pyramid:
    """Return the pyramid of the windowed image with `curve` applied to all voxels except the background."""
    image, (low, high) = levels.image, levels.window
    inputs = torch.linspace(0, 1, GREY_LEVELS + 1, dtype=torch.float32)
    table = (GREY_LEVELS * curve(inputs)).round().short().to(image.data.device)
    background = image.data.amin()
    mapped = torch.empty_like(image.data, dtype=torch.int16)
    for start, stop in image.grid.slabs(2_000_000):
        voxels = image.data[..., start:stop]
        value = (voxels.float() - low).div_(high - low).clamp_(0, 1)
        foreground = voxels > background
        if mask is not None:
            foreground &= (value >= curve.dark) | slab_inside(mask, image.grid, start, stop).to(foreground.device)
        mapped[..., start:stop] = torch.where(foreground, table[value.mul_(GREY_LEVELS).round_().int()], 0)
    return Pyramid(Image(mapped, image.grid, name=image.name), (0.0, float(GREY_LEVELS)), levels.detail)


def _nodes(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the index of the node below each value, and the weight of the next node in linear interpolation."""
    position = values.clamp(0, 1) * (NODES - 1)
    node = position.floor().clamp_max(NODES - 2)
    return node.long(), position - node
