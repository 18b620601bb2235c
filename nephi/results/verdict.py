"""The verdict on a registration, ok, check or failed, with its reasons; docs/concepts/quality.md explains the rule."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nephi.images import Origin
from nephi.preparation import Pair
from nephi.results.quality import Measured
from nephi.settings import Settings, accepts_any_contrast

OK, CHECK, FAILED = "ok", "check", "failed"
MATCHED = 0.72  # fraction of the structures; with less, look at the images
FAILED_MATCHED = 0.35  # with less, the images are not registered
FAILED_MATCHED_CONTRASTS = 0.2  # the same for different contrasts, of which patches are less alike
FEW_PATCHES = 40  # with fewer, the fraction of the matched ones says little
LOST = 0.1  # decrease of the matched fraction; two samples of 400 patches differ by up to 0.07
MOST_OUTSIDE = 0.15  # fraction of the mask
LEAST_DICE = {"masks": 0.85, "foreground": 0.6}
MOST_FOLDED = 1.0  # percent of the mask
# 1st and 99th percentile of det J in the right registrations of benchmarks/quality.py, with a margin; by `image.mask`
# of the presets: lung presets follow one person's breathing, those of brains map one person to another.
USUAL_JACOBIAN = {"lungs": (0.4, 2.2), "foreground": (0.1, 4.0), "none": (0.3, 2.5)}
FAR = 100.0  # mm, within one frame of reference


@dataclass(frozen=True)
class Quality:
    """Whether the images match after a registration.

    verdict: `ok`; `check`, look at the images before using the result; or `failed`.
    reasons: why it is not `ok`, one text each.
    measured: the measures on which the verdict depends, before and after.
    usual_jacobian: what the 1st and 99th percentile of det J usually are between, with these settings.
    fixed, moving: what the files say of patient, frame of reference, modality and date; None without such a header.
    """

    verdict: str
    reasons: tuple[str, ...]
    measured: Measured
    usual_jacobian: tuple[float, float]
    fixed: Origin | None = None
    moving: Origin | None = None

    def __str__(self) -> str:
        """Return the verdict and its reasons."""
        return self.verdict + (f": {'; '.join(self.reasons)}" if self.reasons else "")

    def table(self) -> dict[str, Any]:
        """Return the verdict, its reasons and all measures as nested dictionaries for JSON."""
        origins = {"fixed": self.fixed, "moving": self.moving}
        return {
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            **self.measured.table(),
            "usual_jacobian": list(self.usual_jacobian),
            "origin": {name: origin and origin.table() for name, origin in origins.items()},
        }


def judge(measured: Measured, pair: Pair, settings: Settings) -> Quality:
    """Return the verdict on measures of a registration with these `settings`."""
    usual = USUAL_JACOBIAN[settings.image.mask]
    origins = pair.fixed.origin, pair.moving.origin
    any_contrast = settings.optimization.match_intensities or accepts_any_contrast(settings.objective.similarity)
    region = "the mask" if pair.fixed_mask is not None else "the fixed image"
    failures = list(_failures(measured, any_contrast))
    doubts = [
        *([] if failures else _weak_matches(measured, region)),
        *_doubts(measured, region, usual),
        *_contradictions(*origins, measured, any_contrast),
    ]
    verdict = FAILED if failures else CHECK if doubts else OK
    return Quality(verdict, (*failures, *doubts), measured, usual, *origins)


def _percent(fraction: float) -> int:
    """Return whole percent, rounded down: 71.9 % is below a limit of 72 % and must not read like it."""
    return math.floor(round(100 * fraction, 6))


def _failures(measured: Measured, any_contrast: bool) -> Iterator[str]:
    """Yield what proves that the images are not registered."""
    before, after = measured.before, measured.after
    least = FAILED_MATCHED_CONTRASTS if any_contrast else FAILED_MATCHED
    if after.patches < FEW_PATCHES:
        return
    if after.matched < least:
        kind = "images of different contrast" if any_contrast else "registered images"
        yield (
            f"only {_percent(after.matched)} % of the structures find their counterpart (below {100 * least:.0f} % for "
            f"{kind}): other anatomy, a wrong position or a wrong orientation"
        )
    elif before.patches >= FEW_PATCHES and after.matched < before.matched - LOST:
        yield (
            f"the images agreed better before: {_percent(before.matched)} % of the structures found their counterpart "
            f"in the position given by the headers, {_percent(after.matched)} % now; try --initial none"
        )


def _weak_matches(measured: Measured, region: str) -> Iterator[str]:
    """Yield why the structures do not show that the images match."""
    after = measured.after
    if after.patches < FEW_PATCHES:
        yield f"too little structure inside {region} and the moving image to judge the result"
    elif after.matched < MATCHED:
        yield (
            f"{_percent(after.matched)} % of the structures find their counterpart (usually above "
            f"{100 * MATCHED:.0f} %): unsolved motion, other anatomy, or different contrasts"
        )


def _doubts(measured: Measured, region: str, usual: tuple[float, float]) -> Iterator[str]:
    """Yield what a right registration rarely shows."""
    after, jacobian = measured.after, measured.jacobian
    if after.outside > MOST_OUTSIDE:
        yield f"{100 * after.outside:.0f} % of {region} lies outside the moving image: nothing is known there"
    if after.dice < LEAST_DICE[measured.region]:
        whose = "masks" if measured.region == "masks" else "foregrounds"
        yield f"the {whose} overlap by a Dice of {after.dice:.2f} (usually above {LEAST_DICE[measured.region]:g})"
    if jacobian.folding_percent > MOST_FOLDED:
        yield f"the transform folds at {jacobian.folding_percent:.1f} % of the points in {region}"
    if jacobian.p1 < usual[0] or jacobian.p99 > usual[1]:
        yield (
            f"volumes change by factors of {jacobian.p1:.2f} to {jacobian.p99:.2f} "
            f"(usually between {usual[0]:g} and {usual[1]:g} with such settings)"
        )


def _contradictions(
    fixed: Origin | None, moving: Origin | None, measured: Measured, any_contrast: bool
) -> Iterator[str]:
    """Yield what the headers of both files contradict."""
    if fixed is None or moving is None:
        return
    if fixed.patient and moving.patient and fixed.patient != moving.patient:
        yield f"the files are of different patients: {fixed.patient} and {moving.patient}"
    if fixed.modality and moving.modality and fixed.modality != moving.modality and not any_contrast:
        yield (
            f"the files are {fixed.modality} and {moving.modality}, and the similarity expects the same contrast: use "
            "--preset multimodal, --similarity mind or --similarity nmi"
        )
    if fixed.frame and fixed.frame == moving.frame and measured.displacement.mean > FAR:
        yield (
            f"the files share a frame of reference, but the transform moves {measured.displacement.mean:.0f} mm on "
            "average"
        )
