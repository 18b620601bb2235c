"""Whether the result of a registration is plausible: stretching, folding, and what the images have in common."""

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
from nephi.preparation import Pair
from nephi.sampling import GridPoints, patch_offsets, point_source
from nephi.transforms import AffineTransform, Transform

POINTS = 5000  # in the fixed mask, and as many over the whole grid
STRETCH = (0.5, 2.0)  # singular values of what the affine fit added to its start
FOLDED = 0.01  # of the mask (or of the grid, without one)
BEYOND = 0.1  # of the grid, outside of the mask included
UNRELATED = 0.02  # of the joint entropy is shared; noise and noise: 0.01, T1 and T2 of a neck: 0.03, two CTs: 0.25
LOST = 0.8  # of the information shared before; what is shared varies by 5 % with the interpolation alone
LEAST_OVERLAP = 0.2  # of the points before: of fewer the information is not comparable
INVERTED = -0.3  # correlation
LEAST_FRONT = 0.05  # of the points that are above the background in both images: of fewer a correlation says nothing
BACKGROUND = 0.02  # of the window, above the smallest of the compared values
LITTLE_GAIN = (
    1.5  # times the information before: a fit that aligns gains more, one that turns bright onto dark does not
)
HEADERS = "as the headers place them"
OTHER_CONTRAST = "try --preset multimodal, --similarity mind or --similarity nmi, another one than was used"
ADVICE = (
    "check that both images show the same; give masks, another --initial (moments, centers or none) or --transform "
    f"rigid; for images of different contrast {OTHER_CONTRAST}"
)


@dataclass(frozen=True)
class Agreement:
    """How images agree at matching points inside both: share of points, mutual information, correlations.

    `information` is the mutual information in units of the joint entropy, 0 for unrelated images, whatever their
    contrasts. `correlations` are of all points, and of those above the background in both, which
    may be dark in both whatever their contrasts.
    """

    overlap: float
    information: float
    correlations: tuple[float, float]


def check_result(
    pair: Pair, start: AffineTransform, stored: StoredTransform, smoothing: float, trusts_headers: bool, seed: int
) -> None:
    """Check affine part, folding and agreement of a registration that began at `start`, each with a warning.

    Where `trusts_headers` is false, a start was given because the headers are wrong, and they are no yardstick.
    """
    generator = torch.Generator().manual_seed(seed)
    before: dict[str, Transform] = {"at the start": start}
    if trusts_headers:
        before[HEADERS] = AffineTransform.identity(pair.fixed.dimension)
    check_affine(start, stored.affine)
    check_folding(pair, stored.transform, generator)
    check_agreement(pair, before, stored.transform, smoothing, generator)


def check_affine(start: AffineTransform, affine: AffineTransform) -> None:
    """Issue a `PlausibilityWarning` when `affine` mirrors its start, or changes lengths as no anatomy does."""
    added = torch.linalg.solve(start.matrix[:-1, :-1], affine.matrix[:-1, :-1])
    stretches = torch.linalg.svdvals(added).tolist()
    found, (least, most) = ", ".join(f"{s:.2f}" for s in stretches), STRETCH
    if float(torch.linalg.det(added)) <= 0:
        _warn(
            f"affine part: expected no mirror image of the start, found one (it changes lengths by {found}); {ADVICE}"
        )
    elif min(stretches) < least or max(stretches) > most:
        _warn(f"affine part: expected that it changes lengths by {least:g} to {most:g} times, found {found}; {ADVICE}")


@torch.no_grad()
def check_folding(pair: Pair, transform: Transform, generator: torch.Generator) -> None:
    """Issue a `PlausibilityWarning` when `transform` folds at random points of the fixed mask, or of the whole grid."""
    whole = f"of the grid of {pair.fixed.name}"
    masked = whole if pair.fixed_mask is None else f"inside {pair.fixed_mask.name}"
    sources = (point_source(pair.fixed, pair.fixed_mask), FOLDED, masked), (GridPoints(pair.fixed.grid), BEYOND, whole)
    for source, most, where in sources:
        _, jacobians = transform.value_and_jacobian(source.draw(POINTS, generator))
        folded = float((determinant(jacobians) <= 0).float().mean())
        if folded > most:
            problem = f"expected folding at {100 * most:g} % of the points {where} at most, found {100 * folded:.2g} %"
            _warn(f"transform: {problem}; raise objective.gradicon, or check that both images show the same")
            return


@torch.no_grad()
def check_agreement(
    pair: Pair, before: Mapping[str, Transform], transform: Transform, smoothing: float, generator: torch.Generator
) -> None:
    """Issue a `PlausibilityWarning` when the aligned images are unrelated, or agree less or otherwise than `before`.

    Otherwise: bright was dark in the other image, and is bright now, with hardly more information than before.

    Compared is their mutual information at random points of the fixed mask (without one, of the grid), of intensities
    averaged over about `smoothing` mm, under `transform` and under each transform of `before`, named by what it is.
    """
    points = point_source(pair.fixed, pair.fixed_mask).draw(POINTS, generator)
    agreement = _Comparison(pair, points, smoothing)
    earlier, after = {name: agreement(t) for name, t in before.items()}, agreement(transform)
    comparable = {name: found for name, found in earlier.items() if found.overlap >= LEAST_OVERLAP}
    best, where = max(((found.information, name) for name, found in comparable.items()), default=(0.0, ""))
    opposite = [min(values) for values in zip(*(found.correlations for found in comparable.values()), strict=True)]
    inverted = min(opposite, default=0.0) < INVERTED
    advice = f"what is bright in one is dark in the other: {OTHER_CONTRAST}" if inverted else ADVICE
    if where == HEADERS and not inverted:
        advice = f"give --initial none, which starts from the headers, where they agree by {best:.3f}; {advice}"
    if after.information < UNRELATED:
        problem = f"expected images that have something in common once they are aligned, found {after.information:.3f}"
        problem += " (mutual information over joint entropy; unrelated images: up to 0.02)"
    elif after.information < LOST * best:
        problem = f"expected that they agree more after the registration, found {after.information:.3f} after"
        problem += f" and {best:.3f} {where} (mutual information over joint entropy)"
    elif after.information < LITTLE_GAIN * best and _turned(opposite, after.correlations):
        problem = "expected that bright stays on bright or on dark, found that it was on dark before the registration "
        problem += f"and is on bright after it (correlation {min(opposite):.2f} and {max(after.correlations):.2f})"
    else:
        return
    _warn(f"{pair.fixed.name} and {pair.moving.name}: {problem}; {advice}")


def _turned(before: Sequence[float], after: Sequence[float]) -> bool:
    """Return whether one of the correlations was clearly negative and is clearly positive."""
    return any(low < INVERTED and high > -INVERTED for low, high in zip(before, after, strict=True))


class _Comparison:
    """The fixed image's intensities at points, to compare with those of the moving image where a transform goes."""

    def __init__(self, pair: Pair, points: Tensor, smoothing: float) -> None:
        self.points = points
        self.offsets = patch_offsets(pair.fixed.dimension, 1, smoothing)
        self.moving = ImageSampler(pair.moving, pair.moving_window)
        self.values = ImageSampler(pair.fixed, pair.fixed_window).patches(points, self.offsets).mean(dim=1)

    def __call__(self, transform: Transform) -> Agreement:
        moved, jacobians = (result.float().contiguous() for result in transform.value_and_jacobian(self.points))
        inside = self.moving.contains(moved).float()
        values = self.moving.patches(moved, self.offsets, jacobians).mean(dim=1)
        front = inside * (self.values > self.values.min() + BACKGROUND) * (values > values.min() + BACKGROUND)
        compared = self.values[:, None], values[:, None]
        whole, clear = (1 - float(ncc(*compared, weights)) for weights in (inside, front))
        correlations = whole, clear if float(front.mean()) > LEAST_FRONT else 0.0
        information = max(0.0, 1 - float(nmi(*compared, inside)))  # rounding takes that of constants below 0
        return Agreement(float(inside.mean()), information, correlations)


def _warn(text: str) -> None:
    warn(text, PlausibilityWarning)
