"""Plausibility of a registration: stretching of the affine part, folding, and agreement of the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.errors import PlausibilityWarning, warn
from nephi.fields import StoredTransform
from nephi.geometry import determinant
from nephi.images import ImageSampler
from nephi.losses import ncc, nmi
from nephi.metrics import is_folded
from nephi.preparation import Pair
from nephi.sampling import GridPoints, patch_offsets, point_source
from nephi.transforms import AffineTransform, Transform

POINTS = 5000  # in the fixed mask, and the same number in the whole grid
STRETCH = (0.5, 2.0)  # singular values of the affine part relative to the initial alignment
MOST_FOLDED = 0.01  # fraction of the mask (without one, of the grid)
MOST_FOLDED_GRID = 0.1  # fraction of the whole grid
UNRELATED = 0.02  # agreement; noise and noise: 0.01, T1 and T2 of a neck: 0.03, two CTs: 0.25
DECREASE = 0.8  # times the agreement before; interpolation alone changes it by 5 %
LEAST_OVERLAP = 0.2  # fraction of the points before; agreement at fewer points is not comparable
INVERTED = -0.3  # correlation
LEAST_FOREGROUND = 0.05  # fraction of the points in the foreground of both images, for a meaningful correlation
BACKGROUND = 0.02  # fraction of the window, above the minimum of the compared values
LITTLE_GAIN = 1.5  # times the agreement before; correct fits gain more, fits that map bright to dark do not
START = "at the initial alignment"
HEADERS = "in the position given by the headers"
OTHER_CONTRAST = "try --preset multimodal, --similarity mind or --similarity nmi, unless already used"
ADVICE = (
    "check that both images show the same anatomy; try masks, another --initial (auto, moments, centers or none) or "
    f"--transform rigid; for images of different contrast {OTHER_CONTRAST}"
)


@dataclass(frozen=True)
class Agreement:
    """Agreement of two images at corresponding points.

    `overlap` is the fraction of the points inside both images, `information` the mutual information divided by the
    joint entropy: 0 for unrelated images of any contrast. `correlations` are of all points, and of those in the
    foreground of both, because the background may be dark in both whatever their contrasts.
    """

    overlap: float
    information: float
    correlations: tuple[float, float]


def check_result(
    pair: Pair, start: AffineTransform, stored: StoredTransform, smoothing: float, trusts_headers: bool, seed: int
) -> None:
    """Check affine part, folding and agreement of a registration, and issue warnings.

    `start` is the initial alignment, `smoothing` (mm) that of the compared intensities. `trusts_headers` is false if
    the user gave the initial alignment as a transform: the headers may then be wrong, and are not compared.
    """
    generator = torch.Generator().manual_seed(seed)
    before: dict[str, Transform] = {START: start}
    if trusts_headers:
        before[HEADERS] = AffineTransform.identity(pair.fixed.dimension)
    check_affine(start, stored.affine)
    check_folding(pair, stored.transform, generator, stored.handedness)
    check_agreement(pair, before, stored.transform, smoothing, generator)


def check_affine(start: AffineTransform, affine: AffineTransform) -> None:
    """Issue a `PlausibilityWarning` if `affine` reflects or stretches implausibly, relative to `start`."""
    relative = torch.linalg.solve(start.matrix[:-1, :-1], affine.matrix[:-1, :-1])
    stretches = torch.linalg.svdvals(relative).tolist()
    found, (least, most) = ", ".join(f"{s:.2f}" for s in stretches), STRETCH
    if float(torch.linalg.det(relative)) <= 0:
        _warn(
            "affine part: expected no reflection relative to the initial alignment, found one (singular values "
            f"{found}); {ADVICE}"
        )
    elif min(stretches) < least or max(stretches) > most:
        _warn(
            f"affine part: expected singular values of {least:g} to {most:g} relative to the initial alignment, found "
            f"{found}; {ADVICE}"
        )


@torch.no_grad()
def check_folding(pair: Pair, transform: Transform, generator: torch.Generator, handedness: int = 1) -> None:
    """Issue a `PlausibilityWarning` if `transform` folds at random points of the fixed mask, or of the whole grid.

    `handedness` is -1 for a transform that reflects as a whole.
    """
    whole = f"of the grid of {pair.fixed.name}"
    region = whole if pair.fixed_mask is None else f"inside {pair.fixed_mask.name}"
    sources = (
        (point_source(pair.fixed, pair.fixed_mask), MOST_FOLDED, region),
        (GridPoints(pair.fixed.grid), MOST_FOLDED_GRID, whole),
    )
    for source, most, where in sources:
        _, jacobians = transform.value_and_jacobian(source.draw(POINTS, generator))
        folded = float(is_folded(handedness * determinant(jacobians)).float().mean())
        if folded > most:
            problem = f"expected folding at {100 * most:g} % or less of the points {where}, found {100 * folded:.2g} %"
            _warn(f"transform: {problem}; increase objective.gradicon, or check that both images show the same anatomy")
            return


@torch.no_grad()
def check_agreement(
    pair: Pair, before: Mapping[str, Transform], transform: Transform, smoothing: float, generator: torch.Generator
) -> None:
    """Issue a `PlausibilityWarning` if the aligned images are unrelated, agree less than `before`, or invert contrast.

    Contrast is inverted if the correlation changes from negative to positive with hardly any gain in information.

    `Agreement` is measured at random points of the fixed mask (without one, of the grid) for intensities averaged over
    about `smoothing` mm, under `transform` and under each transform of `before`, whose keys describe them in messages.
    """
    points = point_source(pair.fixed, pair.fixed_mask).draw(POINTS, generator)
    agreement = _Comparison(pair, points, smoothing)
    after = agreement(transform)
    earlier = {name: agreement(each) for name, each in before.items()}
    earlier = {name: each for name, each in earlier.items() if each.overlap >= LEAST_OVERLAP}
    best, position = max(((each.information, name) for name, each in earlier.items()), default=(0.0, ""))
    lowest = [min(values) for values in zip(*(each.correlations for each in earlier.values()), strict=True)]
    inverted = min(lowest, default=0.0) < INVERTED
    advice = f"bright structures of one image are dark in the other: {OTHER_CONTRAST}" if inverted else ADVICE
    if position == HEADERS and not inverted:
        advice = f"try --initial none (agreement by the headers: {best:.3f}); {advice}"
    if after.information < UNRELATED:
        problem = f"expected related images, found an agreement of {after.information:.3f} after the registration "
        problem += "(mutual information over joint entropy; unrelated images: up to 0.02)"
    elif after.information < DECREASE * best:
        problem = f"expected a higher agreement after the registration, found {after.information:.3f} after it "
        problem += f"and {best:.3f} {position} (mutual information over joint entropy)"
    elif after.information < LITTLE_GAIN * best and _sign_changed(lowest, after.correlations):
        problem = f"expected correlations of the same sign before and after the registration, found {min(lowest):.2f} "
        problem += f"and {max(after.correlations):.2f}: bright structures are mapped to dark ones"
    else:
        return
    _warn(f"{pair.fixed.name} and {pair.moving.name}: {problem}; {advice}")


def _sign_changed(before: Sequence[float], after: Sequence[float]) -> bool:
    """Return whether one of the correlations changed from clearly negative to clearly positive."""
    return any(low < INVERTED and high > -INVERTED for low, high in zip(before, after, strict=True))


class _Comparison:
    """Intensities of the fixed image at points, to be compared with the moving image under several transforms."""

    def __init__(self, pair: Pair, points: Tensor, smoothing: float) -> None:
        self.points = points
        self.offsets = patch_offsets(pair.fixed.dimension, 1, smoothing)
        self.moving = ImageSampler(pair.moving, pair.moving_window)
        self.values = ImageSampler(pair.fixed, pair.fixed_window).patches(points, self.offsets).mean(dim=1)

    def __call__(self, transform: Transform) -> Agreement:
        warped, jacobians = (result.float().contiguous() for result in transform.value_and_jacobian(self.points))
        inside = self.moving.contains(warped).float()
        values = self.moving.patches(warped, self.offsets, jacobians).mean(dim=1)
        foreground = inside * (self.values > self.values.min() + BACKGROUND) * (values > values.min() + BACKGROUND)
        compared = self.values[:, None], values[:, None]
        whole, restricted = (1 - float(ncc(*compared, weights)) for weights in (inside, foreground))
        correlations = whole, restricted if float(foreground.mean()) > LEAST_FOREGROUND else 0.0
        information = max(0.0, 1 - float(nmi(*compared, inside)))  # negative by rounding for constant images
        return Agreement(float(inside.mean()), information, correlations)


def _warn(text: str) -> None:
    warn(text, PlausibilityWarning)
