"""Global alignment: a start, then a rigid or affine map driven by the intensities."""

from __future__ import annotations

from itertools import cycle, islice

import torch
from torch import Tensor

from nephi.errors import DataError, PlausibilityWarning, UsageError, warn
from nephi.geometry import Grid
from nephi.images import Image, ImageSampler
from nephi.losses import similarity
from nephi.optimize.adam import Adam
from nephi.preparation import Pair
from nephi.runtime import Progress, ProgressCallback
from nephi.sampling import point_source
from nephi.settings import INITIALS, AffineSettings
from nephi.transforms import AffineTransform, Transform, as_affine

DIFFERENT_UNITS = 50  # longest sides whose ratio is larger hardly belong to one body
LEAST_OVERLAP = 0.02
STRETCH = (
    4.0  # times, at most, and a quarter at least: no step of a fit goes beyond, towards collapse and mirror images
)
BATCHES = 25  # of points, which the steps of a stage take in turn: drawing fresh ones would take longer than the steps


def initial_alignment(pair: Pair, how: str | Transform) -> AffineTransform:
    """Return the affine map to start from: fixed points to moving points (world mm).

    `moments` brings the masks' centres of mass together (without masks, the windowed intensities'), `centers` the
    middles of the images, `none` trusts the headers; a transform, or chain, that is affine is taken as it is.

    Raises `UsageError` for another name, a deformation, or a transform of another dimension than the images.
    """
    if not isinstance(how, str):
        return _given(pair, how)
    if how not in INITIALS:
        raise UsageError(f"unknown initial alignment {how!r}: expected one of {', '.join(INITIALS)}, or a transform")
    if how == "none":
        return AffineTransform.identity(pair.fixed.dimension)
    if how == "centers":
        return AffineTransform.translation(pair.moving.grid.centre_world() - pair.fixed.grid.centre_world())
    if pair.fixed_mask is not None and pair.moving_mask is not None:
        masks = pair.fixed_mask, pair.moving_mask
        fixed, moving = (m.grid.voxel_to_world_points(m.foreground.centre) for m in masks)
    else:
        levels = pair.fixed_levels, pair.moving_levels
        fixed, moving = (_centre_of_mass(p.at(_longest_edge(p.image.grid) / 64)) for p in levels)
    return AffineTransform.translation(moving - fixed)


def _given(pair: Pair, transform: Transform) -> AffineTransform:
    affine = as_affine(transform)
    if affine is None:
        raise UsageError("the initial transform must be affine (or a chain of affine ones), found a deformation")
    if affine.dimension != pair.fixed.dimension:
        raise UsageError(f"the initial transform is {affine.dimension}-D, the images are {pair.fixed.dimension}-D")
    return affine


def require_overlap(pair: Pair, transform: AffineTransform, generator: torch.Generator) -> float:
    """Return which share of the fixed points (in the mask) lies in the moving image under `transform`.

    Raises `DataError` when next to none do, and next to none of the moving points lie in the fixed image: a small
    moving image may lie inside a large fixed one. Lengths that differ as units do are warned of.
    """
    _check_lengths(pair)
    points = transform(point_source(pair.fixed, pair.fixed_mask).draw(4000, generator))
    share = float(ImageSampler(pair.moving).contains(points).float().mean())
    if share >= LEAST_OVERLAP:
        return share
    points = transform.inverse()(point_source(pair.moving, pair.moving_mask).draw(4000, generator))
    moving_share = float(ImageSampler(pair.fixed).contains(points).float().mean())
    if moving_share < LEAST_OVERLAP:
        raise DataError(
            f"{pair.fixed.name} and {pair.moving.name}: expected images that overlap once they are aligned, found "
            f"{100 * share:.1f} % of the fixed points inside the moving image, and {100 * moving_share:.1f} % of the "
            "moving points inside the fixed image; try another --initial"
        )
    return share


def _check_lengths(pair: Pair) -> None:
    """Issue a `PlausibilityWarning` when one image is so much longer than the other that their units must differ."""
    lengths = [_longest_edge(grid) for grid in (pair.fixed.grid, pair.moving.grid)]
    if max(lengths) > DIFFERENT_UNITS * min(lengths):
        fixed, moving = (f"{length:.3g}" for length in lengths)
        problem = f"expected images of like size, found {fixed} and {moving} mm along their longest sides"
        warn(
            f"{pair.fixed.name} and {pair.moving.name}: {problem}; check the voxel sizes and their unit in the headers",
            PlausibilityWarning,
        )


def fit_affine(
    pair: Pair,
    start: AffineTransform,
    settings: AffineSettings,
    kind: str,
    generator: torch.Generator,
    progress: ProgressCallback,
    total: int,
) -> AffineTransform:
    """Refine `start` by Adam on an intensity measure, coarse to fine; fixed points to moving points (world mm).

    The map is `x -> M (x - c) + c + t` around the middle c of the fixed mask, M free or a rotation
    `exp(skew(w))`; points that leave the moving image do not count. M keeps its last value where a step would
    make a singular value less than 1 / `STRETCH` or more than `STRETCH`, on the way to a collapse or a mirror image.
    """
    source = point_source(pair.fixed, pair.fixed_mask)
    probe = source.draw(4000, generator).double()
    centre = probe.mean(dim=0)
    model = _Model(start, centre, float((probe - centre).norm(dim=1).mean()), kind)
    optimiser = Adam(model.parameters, settings.rate)
    loss_of = similarity(settings.similarity)
    steps = settings.steps * len(settings.smoothing)
    done = 0
    for sigma in settings.smoothing:
        fixed = ImageSampler(pair.fixed_levels.at(sigma))
        moving = ImageSampler(pair.moving_levels.at(sigma))
        points = source.draw(settings.points * min(BATCHES, settings.steps), generator).to(pair.fixed.data.device)
        batches = zip(points.split(settings.points), fixed(points).split(settings.points), strict=True)
        for x, value in islice(cycle(batches), settings.steps):
            optimiser.rate = settings.rate * (1.05 - done / steps)
            y = model(x)
            loss = loss_of(value[:, None], moving(y)[:, None], moving.contains(y.detach()).float())
            before = model.linear.detach().clone()
            optimiser.minimise(loss)
            if kind == "affine" and not model.stretches_within(STRETCH):
                model.linear.data.copy_(before)
            done += 1
            if done % 20 == 0:
                progress(Progress("affine", done, total, loss.item()))
    return model.transform()


class _Model:
    """The parameters of the global map, scaled so that one step size suits all."""

    def __init__(self, start: AffineTransform, centre: Tensor, radius: float, kind: str) -> None:
        self.centre = centre
        self.radius = radius  # mm; there a unit of the matrix moves points as far as a unit of the shift does anywhere
        self.start = start
        d = start.dimension
        self.shift = torch.zeros(d, dtype=torch.float32, requires_grad=True)
        count = d * d if kind == "affine" else d * (d - 1) // 2
        self.linear = torch.zeros(count, dtype=torch.float32, requires_grad=True)
        self.kind = kind
        self.parameters = [self.shift, self.linear]

    def __call__(self, points: Tensor) -> Tensor:
        matrix, offset = self._composed(torch.float32)
        return points @ matrix.T.to(points) + offset.to(points)

    def transform(self) -> AffineTransform:
        with torch.no_grad():
            matrix, offset = self._composed(torch.float64)
        homogeneous = torch.eye(len(offset) + 1, dtype=torch.float64)
        homogeneous[:-1, :-1], homogeneous[:-1, -1] = matrix, offset
        return AffineTransform(homogeneous)

    def stretches_within(self, most: float) -> bool:
        """Return whether the singular values of M lie between `1 / most` and `most`."""
        values = torch.linalg.svdvals(self._update().detach())
        return bool(values[-1] >= 1 / most) and bool(values[0] <= most)

    def _composed(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return matrix and offset of: move about the fixed centre, then the start."""
        d = len(self.shift)
        update = self._update().to(dtype)
        first, shift = self.start.matrix[:-1, :-1].to(dtype), self.start.matrix[:-1, -1].to(dtype)
        centre = self.centre.to(dtype)
        matrix = first @ update
        offset = first @ (centre - update @ centre + self.radius * self.shift.to(dtype)) + shift
        assert matrix.shape == (d, d)
        return matrix, offset

    def _update(self) -> Tensor:
        d = len(self.shift)
        if self.kind == "affine":
            return torch.eye(d, dtype=torch.float32) + self.linear.view(d, d)
        upper = torch.triu_indices(d, d, offset=1)
        skew = torch.zeros(d, d, dtype=torch.float32).index_put((upper[0], upper[1]), self.linear)
        return torch.matrix_exp(skew - skew.T)


def _centre_of_mass(image: Image) -> Tensor:
    axes = range(image.dimension)
    profiles = [image.data.double().sum(dim=[b for b in axes if b != axis]) for axis in axes]
    centre = torch.stack([(p * torch.arange(len(p)).to(p)).sum() / p.sum() for p in profiles])
    return image.grid.voxel_to_world_points(centre.cpu())


def _longest_edge(grid: Grid) -> float:
    return float((grid.spacing * torch.tensor(grid.shape, dtype=torch.int64)).max())
