"""Search for the initial alignment: several hypotheses, compared by structure whatever the contrast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.errors import PlausibilityWarning, warn
from nephi.geometry import Grid
from nephi.optimize.adam import Adam
from nephi.optimize.affine import AffineModel
from nephi.optimize.rotation_search import candidate_rotations
from nephi.optimize.start_hypotheses import Hypothesis, hypotheses
from nephi.optimize.structure import StructureScore
from nephi.preparation import Pair
from nephi.settings import AffineSettings
from nephi.transforms import AffineTransform

MIRRORED = ", mirrored"  # ends the name of a hypothesis
HEADERS = "none"  # the headers' alignment as it is, named as the value of --initial
SCALES = (16, 32, 64)  # smoothing of the search, and of both stages of the refinement: parts of an image's longest edge
POINTS = (400, 400, 1000)  # at each scale
PLANE_ROTATIONS = 72  # in 2-D, where the whole circle costs little
SHIFTED = 32  # best candidates that are shifted to each side as well
SHIFT, SIDES = 0.05, {2: 2, 3: 1}  # of the edge; number of shifts to each side, by dimension
REFINED = 4  # candidates besides the headers
STEPS, RATES = (40, 25), (0.02, 0.01)  # of the refinement at the second and third scale
DISTINCT = 0.08  # of the edge: mean distance of points from those of another candidate
APART = 0.15  # of the edge: from those of an alignment that excludes the other
EARNED = 1.1  # times the headers' score: what another alignment has to reach
SUPPORTED = 0.02  # score; right alignments of the benchmark have 0.056 or more, unrelated images about 0
CLEAR = 0.1  # margin over the second best alignment; with less the images do not determine it


@dataclass(frozen=True)
class Start:
    """The chosen initial alignment, and what supports it.

    `transform` maps fixed to moving points; `hypothesis` names where its search began: `none` (the headers), or one
    of the `hypotheses` after a search over rotations, with `, mirrored` at its end after a reflection. `score` is its
    `StructureScore.structure` on a fine scale, `header_score` that of the headers as they are, and `margin` the part of
    `score` that the best different alignment does not reach: 1 if nothing else agrees, 0 if another one agrees as well.
    `measure` is what scored them.
    """

    transform: AffineTransform
    hypothesis: str
    score: float
    header_score: float
    margin: float
    measure: StructureScore

    @property
    def is_headers(self) -> bool:
        """Return whether the headers are kept as they are."""
        return torch.equal(self.transform.matrix, AffineTransform.identity(self.transform.dimension).matrix)

    def table(self) -> dict[str, str | float]:
        """Return the facts for report.json."""
        return {
            "hypothesis": self.hypothesis,
            "score": self.score,
            "score_of_headers": self.header_score,
            "margin": self.margin,
        }

    def improved_by(self, fitted: AffineTransform) -> bool:
        """Return whether a map fitted from this start agrees at least as well.

        The intensities that a fit compares may mislead it, for example where contrasts differ.
        """
        return float(self.measure(fitted.matrix[None])[0, 0]) >= self.score


@dataclass(frozen=True, eq=False)
class _Candidate:
    hypothesis: str
    matrix: Tensor


def search_start(pair: Pair, settings: AffineSettings, generator: torch.Generator, *, mirrored: bool = False) -> Start:
    """Return the best of several initial alignments, the headers' own included.

    Rotations around the positions of `hypotheses` are compared (3-D: `settings.rotations` of at most `settings.reach`
    degrees, 2-D: the whole circle), the best also shifted. The best different ones, and the headers, are refined as
    rigid maps and compared on a finer scale; what replaces the headers as they are has to exceed their score by 10 %.
    If `mirrored`, mirror images of every hypothesis are compared, too; they have to exceed the others by 10 %. Issues a
    `PlausibilityWarning` for a mirrored alignment, if the images hardly agree in the chosen one, or if it is not that
    of the headers, refined or not, and a different one agrees almost as well.
    """
    edge = shorter_edge(pair)
    scores = [StructureScore(pair, edge / s, n, generator) for s, n in zip(SCALES, POINTS, strict=True)]
    starts = hypotheses(pair, edge / SCALES[-1], edge)
    centre = starts[0].fixed
    headers = _Candidate(HEADERS, torch.eye(pair.fixed.dimension + 1, dtype=torch.float64))
    mirrors = _mirrors(pair.fixed.grid) if mirrored else []
    count = 2 * REFINED if mirrored else REFINED
    candidates = _coarse_candidates(scores[0], starts, edge, settings, generator, mirrors)
    refined = [headers, *_different(candidates, scores[0].points, APART * edge, count)]
    for score, steps, rate in zip(scores[1:], STEPS, RATES, strict=True):
        refined = [_refined(candidate, score, centre, steps, rate) for candidate in refined]
        refined = _different(_ranked(score, refined), score.points, DISTINCT * edge, count)
    return _choose(pair, scores[-1], headers, refined, APART * edge)


def _coarse_candidates(
    score: StructureScore,
    starts: Sequence[Hypothesis],
    edge: float,
    settings: AffineSettings,
    generator: torch.Generator,
    mirrors: Sequence[Tensor],
) -> list[_Candidate]:
    """Return rotated and shifted hypotheses, those after a reflection by one of the `mirrors` as well, best first."""
    dimension = score.points.shape[1]
    rotations = _rotations(dimension, settings, generator)
    linear = torch.cat([rotations, *(rotations @ mirror for mirror in mirrors)])
    suffixes = [""] * len(rotations) + [MIRRORED] * (len(linear) - len(rotations))
    names = [start.name + suffix for start in starts for suffix in suffixes]
    matrices = torch.cat([_around(linear, start.fixed, start.moving) for start in starts])
    best = score(matrices).sum(dim=1).argsort(descending=True, stable=True)[:SHIFTED]
    sides = SIDES[dimension]
    steps = torch.arange(-sides, sides + 1, dtype=torch.float64)
    shifts = SHIFT * edge * torch.cartesian_prod(*[steps] * dimension)
    shifted = matrices[best].repeat_interleave(len(shifts), dim=0)
    shifted[:, :-1, -1] += shifts.repeat(len(best), 1)
    order = score(shifted).sum(dim=1).argsort(descending=True, stable=True).tolist()
    return [_Candidate(names[int(best[i // len(shifts)])], shifted[i]) for i in order]


def _rotations(dimension: int, settings: AffineSettings, generator: torch.Generator) -> Tensor:
    if dimension == 3 or settings.rotations == 1:
        return candidate_rotations(dimension, settings.rotations, settings.reach, generator)
    angles = 2 * math.pi / PLANE_ROTATIONS * torch.arange(PLANE_ROTATIONS, dtype=torch.float64)
    return torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], dim=1).view(-1, 2, 2)


def _mirrors(grid: Grid) -> list[Tensor]:
    """Return the reflections `(D, D)` along the axes of a grid; just one in 2-D, where all rotations are searched."""
    count = 1 if grid.dimension == 2 else 3
    axes = grid.direction.T[:count]
    return [torch.eye(grid.dimension, dtype=torch.float64) - 2 * torch.outer(axis, axis) for axis in axes]


def _around(rotations: Tensor, centre: Tensor, target: Tensor) -> Tensor:
    """Return homogeneous matrices that rotate (or reflect), and map `centre` to `target`."""
    matrices = torch.eye(len(centre) + 1, dtype=torch.float64).repeat(len(rotations), 1, 1)
    matrices[:, :-1, :-1], matrices[:, :-1, -1] = rotations, target - rotations @ centre
    return matrices


def _different(candidates: list[_Candidate], points: Tensor, distance: float, count: int) -> list[_Candidate]:
    """Return the first `count` candidates that map `points` at least `distance` mm away from all before them.

    The first candidate from the headers is kept beyond that, unless one before it is as close.
    """
    chosen: list[_Candidate] = []
    for candidate in candidates:
        first = candidate.hypothesis == HEADERS and all(other.hypothesis != HEADERS for other in chosen)
        if (first or len(chosen) < count) and all(_distance(candidate, other, points) > distance for other in chosen):
            chosen.append(candidate)
    return chosen


def _distance(one: _Candidate, other: _Candidate, points: Tensor) -> float:
    difference = one.matrix - other.matrix
    return float((points.double() @ difference[:-1, :-1].T + difference[:-1, -1]).norm(dim=1).mean())


def _refined(candidate: _Candidate, score: StructureScore, centre: Tensor, steps: int, rate: float) -> _Candidate:
    """Return the candidate after some steps of Adam on the rigid motion before it."""
    radius = float((score.points.double() - centre).norm(dim=1).mean())
    model = AffineModel(AffineTransform(candidate.matrix), centre, radius, "rigid")
    optimizer = Adam(model.parameters, rate)
    for step in range(steps):
        optimizer.rate = rate * (1.05 - step / steps)
        optimizer.minimise(score.dissimilarity(*model.matrix_and_offset(torch.float32)))
    return _Candidate(candidate.hypothesis, model.transform().matrix)


def _ranked(score: StructureScore, candidates: list[_Candidate]) -> list[_Candidate]:
    """Return the candidates by descending sum of structure and information."""
    order = _scores(score, candidates).sum(dim=1).argsort(descending=True, stable=True).tolist()
    return [candidates[i] for i in order]


def _favour(candidate: _Candidate) -> float:
    if candidate.hypothesis.endswith(MIRRORED):
        return 1 / EARNED
    return EARNED if candidate.hypothesis == HEADERS else 1.0


def _scores(score: StructureScore, candidates: list[_Candidate]) -> Tensor:
    return score(torch.stack([candidate.matrix for candidate in candidates]))


def _choose(
    pair: Pair, score: StructureScore, headers: _Candidate, refined: list[_Candidate], distance: float
) -> Start:
    """Return the best candidate; one from the headers, refined or not, if it is almost as good."""
    candidates = [headers, *refined]
    values = _scores(score, candidates)[:, 0].tolist()
    best = max(range(len(values)), key=lambda i: values[i] * _favour(candidates[i]))
    if values[best] <= 0 or max(0.0, values[0]) * EARNED >= values[best]:
        best = 0
    chosen, value = candidates[best], values[best]
    pairs = zip(candidates, values, strict=True)
    others = [other for candidate, other in pairs if _distance(candidate, chosen, score.points) > distance]
    margin = max(0.0, 1 - max([0.0, *others]) / max(value, 1e-6))
    _warn_of_doubt(f"{pair.fixed.name} and {pair.moving.name}", chosen.hypothesis, value, margin)
    return Start(AffineTransform(chosen.matrix), chosen.hypothesis, value, values[0], margin, score)


def _warn_of_doubt(names: str, hypothesis: str, score: float, margin: float) -> None:
    """Issue a `PlausibilityWarning` for an alignment in which the images hardly agree, or that is one of several."""
    expected = f"{names}: expected an initial alignment in which the structures of the images agree"
    advice = "check the result, or select an alignment by --initial"
    if score < SUPPORTED:
        found = f"none of those that were tried (best score {score:.3f})"
        warn(f"{expected}, found {found}; {advice}", PlausibilityWarning)
    elif hypothesis.endswith(MIRRORED):
        found = "one in which the moving image is mirrored; usually a header states a wrong direction of an axis"
        warn(f"{expected}, found {found}: check both headers before the result is used", PlausibilityWarning)
    elif hypothesis != HEADERS and margin < CLEAR:
        found = f"two different ones (the second reaches {100 * (1 - margin):.0f} % of the score of the first)"
        warn(f"{expected}, found {found}; {advice}", PlausibilityWarning)


def shorter_edge(pair: Pair) -> float:
    """Return the shorter one of the longest edges of both images, mm: the unit of lengths in a search."""
    grids = pair.fixed.grid, pair.moving.grid
    return min(float((grid.spacing * torch.tensor(grid.shape, dtype=torch.int64)).max()) for grid in grids)
