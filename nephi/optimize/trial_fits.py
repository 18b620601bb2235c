"""Choice among global maps by what a short fit of the deformation reaches from each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import torch

from nephi.fields import FieldStep, StoredTransform, build_fields
from nephi.optimize.contrast_check import with_mind_channels, with_mind_fit
from nephi.optimize.fit import fit_fields, threads_of_fit
from nephi.optimize.start_search import HEADERS, Start, shorter_edge
from nephi.optimize.structure import StructureScore
from nephi.preparation import Pair
from nephi.runtime import ignore_progress
from nephi.settings import Settings
from nephi.transforms import AffineTransform, Transform

LEVELS, STEPS = 2, 80  # of a short fit: the coarsest levels, and steps on each
POINTS = 512  # random points of a step, as in the presets for whole images
PLAUSIBLE = 0.75  # of the start's score: a position by the headers with less is no candidate
SMALL = 0.02  # of the edge: mean distance of points under two maps between which a deformation does not care
EQUAL = 0.9  # of the score: a map that is a little different must not agree less
EARNED = 1.05  # times the score after the fit from a simpler map: what replaces it has to reach


@dataclass(frozen=True)
class Choice:
    """The global map from which the deformation is fitted, its name, and the scores after a short fit from each map."""

    name: str
    transform: AffineTransform
    scores: Mapping[str, float]

    def table(self) -> dict[str, str | float]:
        """Return the facts for report.json."""
        return {"map": self.name, **{f"score_after_fit_from_{name}": score for name, score in self.scores.items()}}


def choose_map(
    pair: Pair, start: Start, affine: AffineTransform, settings: Settings, device: torch.device, seed: int
) -> Choice:
    """Return the headers as they are (`none`), the `start` of a search, or the `affine` map fitted from it.

    A deformation makes up for much of a map that is missing, but for little of a wrong one: of organs that slide, an
    affine map follows the larger and drags the other along. So a map has to earn its place: in this order, each
    replaces the one before if the result of a short fit has `EARNED` times the score. Fields are fitted as the final
    ones are (by MIND where these match intensities), and the results compared by the structure score of the search. A
    map that moves points by less than `SMALL` of the edge from the one before is taken without a fit, unless its own
    score is below `EQUAL` times that. Headers with less than `PLAUSIBLE` times the score of the start are no candidate.
    """
    if settings.optimization.match_intensities:
        pair, settings = with_mind_channels(pair), with_mind_fit(settings, pair.fixed.grid)

    @cache
    def result(name: str) -> float:
        return start.measure.under(_briefly_fitted(pair, maps[name], settings, device, seed))

    maps = _candidates(start, affine)
    limit = SMALL * shorter_edge(pair)
    scores: dict[str, float] = {}
    chosen = next(iter(maps))
    for name in list(maps)[1:]:
        if _is_close(maps[name], maps[chosen], start.measure, limit):
            chosen = name
            continue
        scores |= {each: result(each) for each in (chosen, name)}
        if scores[name] > 0 and scores[name] >= EARNED * max(0.0, scores[chosen]):
            chosen = name
    return Choice(chosen, maps[chosen], scores)


def _candidates(start: Start, affine: AffineTransform) -> dict[str, AffineTransform]:
    """Return the maps by their names, the simplest first."""
    if start.is_headers:
        maps = {HEADERS: start.transform}
    elif start.header_score >= PLAUSIBLE * start.score:
        maps = {HEADERS: AffineTransform.identity(affine.dimension), "start": start.transform}
    else:
        maps = {"start": start.transform}
    is_fitted = not torch.equal(affine.matrix, start.transform.matrix)
    return maps | {"affine": affine} if is_fitted else maps


def _is_close(one: AffineTransform, other: AffineTransform, measure: StructureScore, limit: float) -> bool:
    """Return whether `one` moves points by less than `limit` mm from `other`, and agrees about as well."""
    points = measure.points.double()
    if float((one(points) - other(points)).norm(dim=1).mean()) > limit:
        return False
    return measure.under(one) >= EQUAL * measure.under(other)


def _briefly_fitted(
    pair: Pair, affine: AffineTransform, settings: Settings, device: torch.device, seed: int
) -> Transform:
    """Return `affine` with fields fitted to the coarsest levels."""
    brief = brief_settings(settings)
    generator = torch.Generator().manual_seed(seed)
    aligned = pair.with_moving_transformed(affine.inverse().matrix).to(device)
    fields = build_fields(brief.field, pair.fixed.grid, generator).to(device)
    with threads_of_fit(fields):
        fit_fields(aligned, fields, brief, generator, ignore_progress, 0, 1)
    steps = (FieldStep(fields.cpu().requires_grad_(False)),)
    return StoredTransform(affine, pair.fixed.grid, pair.moving.grid, steps).transform


def brief_settings(settings: Settings) -> Settings:
    """Return the settings of a short fit: few steps on few points, and no removal of folds."""
    levels = tuple(replace(level, steps=min(STEPS, level.steps)) for level in settings.levels[:LEVELS])
    objective = settings.objective
    counts = {name: min(POINTS, getattr(objective, name)) for name in ("points", "regularization_points")}
    return replace(settings, levels=levels, objective=replace(objective, folding=0.0, **counts))
