"""Fit of a rigid or affine map to the intensities of two images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

import torch
from torch import Tensor

from nephi.images import ImageSampler
from nephi.losses import similarity
from nephi.objective import Guide, guide_terms
from nephi.optimize.adam import Adam
from nephi.preparation import Pair
from nephi.runtime import Progress, ProgressCallback
from nephi.sampling import point_source
from nephi.settings import AffineSettings
from nephi.transforms import AffineTransform

STRETCH = 4.0  # largest singular value of the fitted map, 1 / STRETCH the smallest: no collapse, no reflection
BATCHES = 25  # of points, which the steps of a stage use in turn: sampling new ones would take longer than the steps
PROBES = 4000  # points that determine the centre and the size of the fixed points


def fit_affine(
    pair: Pair,
    start: AffineTransform,
    settings: AffineSettings,
    kind: str,
    generator: torch.Generator,
    progress: ProgressCallback,
    total: int,
    guides: Sequence[Guide] = (),
) -> AffineTransform:
    """Fit a map by Adam from `start`, coarse to fine, and return it: fixed points to moving points (world mm).

    `start` is preceded by `x -> M (x - c) + c + t` around the centre c of the fixed points, with M free (`kind` is
    `affine`) or a rotation `exp(skew(w))` (`rigid`). Points outside the moving image are ignored. M keeps its last
    value if a step would make a singular value less than 1 / `STRETCH` or more than `STRETCH`, which would lead to a
    collapse or a reflection. The loss is the mean over the channels; `guides` add their terms to it. `total` is the
    number of steps of the whole registration for `progress`.
    """
    source = point_source(pair.fixed, pair.fixed_mask)
    probes = source.draw(PROBES, generator).double()
    centre = probes.mean(dim=0)
    model = AffineModel(start, centre, float((probes - centre).norm(dim=1).mean()), kind)
    optimizer = Adam(model.parameters, settings.rate)
    losses_of = [similarity(settings.similarity)]
    losses_of += [similarity(channel.settings.affine.similarity) for channel in pair.channels]
    steps = settings.steps * len(settings.smoothing)
    done = 0
    for sigma in settings.smoothing:
        channels = [pair, *(channel.images for channel in pair.channels)]
        fixed = [ImageSampler(channel.fixed_levels.at(sigma)) for channel in channels]
        moving = [ImageSampler(channel.moving_levels.at(sigma)) for channel in channels]
        points = source.draw(settings.points * min(BATCHES, settings.steps), generator).to(pair.fixed.data.device)
        values = torch.stack([image(points) for image in fixed], dim=1)
        known = torch.stack([image.contains(points) for image in fixed], dim=1)
        known[:, 0] = True  # points are sampled in the first channel, to rounding at its border
        batches = zip(*(each.split(settings.points) for each in (points, values, known)), strict=True)
        level_guides = [guide.at_level(sigma) for guide in guides]
        for fixed_points, fixed_values, fixed_known in islice(cycle(batches), settings.steps):
            optimizer.rate = settings.rate * (1.05 - done / steps)
            moving_points = model(fixed_points)
            each = zip(losses_of, moving, fixed_values.unbind(1), fixed_known.unbind(1), strict=True)
            losses = [
                loss_of(
                    own[:, None],
                    image(moving_points)[:, None],
                    (image.contains(moving_points.detach()) & is_known).float(),
                )
                for loss_of, image, own, is_known in each
            ]
            loss = torch.stack(losses).mean()
            loss = sum(guide_terms(level_guides, model, None, generator).values(), start=loss)
            previous = model.linear.detach().clone()
            optimizer.minimise(loss)
            if kind == "affine" and not model.stretches_within(STRETCH):
                model.linear.data.copy_(previous)
            done += 1
            if done % 20 == 0:
                progress(Progress("affine", done, total, loss.item()))
    return model.transform()


class AffineModel:
    """A map `x -> start(M (x - centre) + centre + t)`, its parameters scaled so that one step size suits all of them.

    `start`, and M and t as in `fit_affine`; `centre` `(D,)` in mm, `radius` (mm) the mean distance of points from it.
    """

    def __init__(self, start: AffineTransform, centre: Tensor, radius: float, kind: str) -> None:
        self.centre = centre
        self.radius = radius  # mm; at this distance a unit of the matrix moves points as far as a unit of the shift
        self.start = start
        d = start.dimension
        self.shift = torch.zeros(d, dtype=torch.float32, requires_grad=True)
        count = d * d if kind == "affine" else d * (d - 1) // 2
        self.linear = torch.zeros(count, dtype=torch.float32, requires_grad=True)
        self.kind = kind
        self.parameters = [self.shift, self.linear]

    def __call__(self, points: Tensor) -> Tensor:
        """Return the moving points of fixed points `(..., D)`."""
        matrix, offset = self.matrix_and_offset(torch.float32)
        return points @ matrix.T.to(points) + offset.to(points)

    def transform(self) -> AffineTransform:
        """Return the map in double precision."""
        with torch.no_grad():
            matrix, offset = self.matrix_and_offset(torch.float64)
        homogeneous = torch.eye(len(offset) + 1, dtype=torch.float64)
        homogeneous[:-1, :-1], homogeneous[:-1, -1] = matrix, offset
        return AffineTransform(homogeneous)

    def stretches_within(self, most: float) -> bool:
        """Return whether the singular values of M lie between `1 / most` and `most`."""
        values = torch.linalg.svdvals(self._linear_part().detach())
        return bool(values[-1] >= 1 / most) and bool(values[0] <= most)

    def matrix_and_offset(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return matrix and offset of the composition: first the map around the centre, then the start."""
        linear, shift = self._linear_part().to(dtype), self.radius * self.shift.to(dtype)
        centre = self.centre.to(dtype)
        start_linear, start_shift = self.start.matrix[:-1, :-1].to(dtype), self.start.matrix[:-1, -1].to(dtype)
        return start_linear @ linear, start_linear @ (centre - linear @ centre + shift) + start_shift

    def _linear_part(self) -> Tensor:
        d = len(self.shift)
        if self.kind == "affine":
            return torch.eye(d, dtype=torch.float32) + self.linear.view(d, d)
        upper = torch.triu_indices(d, d, offset=1)
        skew = torch.zeros(d, d, dtype=torch.float32).index_put((upper[0], upper[1]), self.linear)
        return torch.matrix_exp(skew - skew.T)
