"""Choice among global maps: small ones, wrong ones, and halves that slide along each other."""

from collections.abc import Callable

import pytest
import torch

from nephi.geometry import Grid
from nephi.images import Image
from nephi.optimize.start_search import Start
from nephi.optimize.structure import StructureScore
from nephi.optimize.trial_fits import Choice, brief_settings, choose_map
from nephi.phantoms import PhantomPair
from nephi.phantoms.waves import PlaneWaves
from nephi.preparation.pair import make_pair
from nephi.settings import ImageSettings, Settings, in_millimetres, preset
from nephi.transforms import AffineTransform

Chooser = Callable[[Image, Image, AffineTransform], Choice]


@pytest.fixture(scope="module")
def choose(quick: Settings) -> Chooser:
    def choice(fixed: Image, moving: Image, affine: AffineTransform) -> Choice:
        pair = make_pair(fixed, moving, None, None, ImageSettings())
        measure = StructureScore(pair, 2.0, 1000, torch.Generator().manual_seed(0))
        headers = AffineTransform.identity(2)
        score = measure.under(headers)
        start = Start(headers, "none", score, score, 1.0, measure)
        return choose_map(pair, start, affine, quick, torch.device("cpu"), 0)

    return choice


def shifted(*vector: float) -> AffineTransform:
    return AffineTransform.translation(torch.tensor(vector, dtype=torch.float64))


def test_a_small_map_is_taken_without_a_fit(choose: Chooser, shapes: PhantomPair) -> None:
    choice = choose(shapes.fixed, shapes.fixed, shifted(0.1, -0.1))
    assert choice.name == "affine" and not choice.scores


def test_no_map_is_made_where_none_is_fitted(choose: Chooser, shapes: PhantomPair) -> None:
    choice = choose(shapes.fixed, shapes.fixed, AffineTransform.identity(2))
    assert choice.name == "none" and not choice.scores


def test_a_wrong_map_does_not_replace_the_headers(choose: Chooser, shapes: PhantomPair) -> None:
    choice = choose(shapes.fixed, shapes.fixed, shifted(25.0, 10.0))
    assert choice.name == "none" and choice.scores["none"] > 1.05 * choice.scores["affine"]
    assert choice.table()["score_after_fit_from_affine"] == choice.scores["affine"]
    assert torch.equal(choice.transform.matrix, torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("without", "with_map", "chosen"),
    [
        (0.1, 0.104, "none"),
        (0.1, 0.106, "affine"),
        (-0.01, -0.0104, "none"),
        (0.0, 0.0, "none"),
        (-0.01, 0.01, "affine"),
    ],
)
def test_a_map_has_to_reach_a_higher_score_of_either_sign(
    choose: Chooser, shapes: PhantomPair, monkeypatch, without: float, with_map: float, chosen: str
) -> None:
    monkeypatch.setattr("nephi.optimize.trial_fits._briefly_fitted", lambda pair, affine, *others: affine)
    identity = torch.eye(3, dtype=torch.float64)
    under = lambda self, affine: without if torch.equal(affine.matrix, identity) else with_map  # noqa: E731
    monkeypatch.setattr(StructureScore, "under", under)
    assert choose(shapes.fixed, shapes.fixed, shifted(25.0, 10.0)).name == chosen


def test_of_halves_that_slide_none_is_dragged_along(choose: Chooser) -> None:
    """One half lies still, the other moved by 8 mm: a shift of 4 mm is better than none, but not after a fit."""
    grid = Grid.from_spacing((96, 96), (1.0, 1.0))
    texture = PlaneWaves.random(60, 1, 2, (14.0, 60.0), torch.Generator().manual_seed(2))
    points = grid.voxel_centres().reshape(-1, 2).float()
    slip = torch.where(points[:, 0] > grid.centre_world()[0], 8.0, 0.0)[:, None] * torch.tensor([0.0, 1.0])
    images = [Image(texture(each).view(grid.shape), grid) for each in (points, points - slip)]
    choice = choose(*images, shifted(0.0, 4.0))
    assert choice.name == "none"


def test_a_short_fit_has_few_steps_on_the_coarsest_levels(shapes: PhantomPair) -> None:
    brief = brief_settings(in_millimetres(preset("brain-mri"), shapes.fixed.grid))
    assert [level.steps for level in brief.levels] == [80, 80]
    assert (brief.objective.points, brief.objective.folding) == (512, 0.0)
    assert brief_settings(brief) == brief
