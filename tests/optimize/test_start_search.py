"""Search for the initial alignment: stains, parts, contrasts, headers that are right, and ambiguous images."""

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nephi.errors import PlausibilityWarning
from nephi.fields import nephi_bytes
from nephi.geometry import Grid
from nephi.images import Image
from nephi.metrics import jacobian_image, regularity
from nephi.metrics.streaming import StreamingFoldingStatistics
from nephi.optimize import register
from nephi.optimize.start_search import Start, search_start
from nephi.phantoms import Bodies, PhantomPair, half_field_of_view, stains_phantom
from nephi.phantoms.grids import rotation
from nephi.preparation.pair import Pair, make_pair
from nephi.results import read_inverse, read_transform
from nephi.settings import AffineSettings, ImageSettings, Settings
from nephi.transforms import AffineTransform, Composite, invert


def pair_of(fixed: Image, moving: Image) -> Pair:
    return make_pair(fixed, moving, None, None, ImageSettings())


def search(pair: Pair) -> Start:
    return search_start(pair, AffineSettings(rotations=200), torch.Generator().manual_seed(0))


def mean_error(start: Start, pair: PhantomPair) -> float:
    points, targets = pair.landmarks.fixed.coordinates, pair.landmarks.moving.coordinates
    return float((start.transform(points) - targets).norm(dim=-1).mean())


@pytest.mark.parametrize(("seed", "angle"), [(21, 165.0), (22, 75.0)])
def test_two_stains_turned_far(seed: int, angle: float) -> None:
    pair = stains_phantom(seed, angle)
    start = search(pair_of(pair.fixed, pair.moving))
    assert mean_error(start, pair) < 4.0
    assert start.score > 2 * start.header_score and start.margin > 0.2


def test_half_of_a_turned_section() -> None:
    pair = half_field_of_view(stains_phantom(404, 80.0), "fixed", 0, "high")
    assert mean_error(search(pair_of(pair.fixed, pair.moving)), pair) < 6.0


def test_bodies_of_two_contrasts_on_oblique_grids(grids: dict[int, Grid]) -> None:
    body = Bodies.random(1, 3, 24.0, torch.Generator().manual_seed(1))
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3], turn[:3, 3] = rotation(0.3, -0.35, 0.3), torch.tensor([20.0, -14.0, 9.0], dtype=torch.float64)
    images = []
    for contrast, shape, spacing in ((0, (30, 40, 24), (2.2, 1.6, 2.6)), (1, (36, 26, 34), (1.8, 2.5, 2.0))):
        axes = grids[3].direction * torch.tensor(spacing, dtype=torch.float64)
        affine = torch.eye(4, dtype=torch.float64)
        affine[:3, :3] = axes
        affine[:3, 3] = -axes @ (torch.tensor(shape, dtype=torch.float64) - 1) / 2
        grid = Grid(shape, affine)
        values = body.intensities(grid.voxel_centres().reshape(1, -1, 3), torch.tensor([contrast]))
        images.append(Image(values.view(shape), grid))
    moving = replace(images[1], grid=images[1].grid.transformed(turn))
    start = search(pair_of(images[0], moving))
    points = 20 * torch.eye(3, dtype=torch.float64)
    expected = points @ turn[:3, :3].T + turn[:3, 3]
    assert float((start.transform(points) - expected).norm(dim=-1).max()) < 4.0


def test_a_mirrored_section_is_found_if_mirror_images_are_wanted(brief: Settings, tmp_path: Path) -> None:
    pair = stains_phantom(21, 165.0)
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    mirrored = pair.moving.with_grid(pair.moving.grid.transformed(flip))
    mirrored_points = AffineTransform(flip)(pair.landmarks.moving.coordinates)
    settings = replace(brief, affine=replace(brief.affine, similarity="nmi"))
    with pytest.warns(PlausibilityWarning, match="in which the moving image is mirrored; usually a header") as issued:
        result = register(pair.fixed, mirrored, settings=settings, initial="auto-mirrored")
    assert not any("fold" in str(warning.message) for warning in issued)
    affine = result.stored.affine
    assert affine.handedness == -1 and affine.inverse().handedness == -1
    assert result.stored.handedness == -1 and replace(result.stored, about={}).handedness == 1  # not by accident
    assert float((affine(pair.landmarks.fixed.coordinates) - mirrored_points).norm(dim=-1).mean()) < 5.0
    assert result.stored.about["initial_alignment"]["hypothesis"].endswith(", mirrored")
    folding = StreamingFoldingStatistics(pair.fixed.grid, None, result.stored.handedness)
    centres = pair.fixed.grid.voxel_centres()
    folding.add(affine(centres) - centres, last=True)
    counted = folding.whole_grid.result()
    assert counted.folding_percent == 0
    # One definition: the transform, read from a file or not, and its inverse, know that the reflection is intended.
    path = tmp_path / "mirrored.nephi"
    path.write_bytes(nephi_bytes(replace(result.stored, steps=())))
    for transform in (result.transform, read_transform(path)):
        assert regularity(transform, pair.fixed.grid).folding_percent == 0
    assert regularity(read_transform(path), pair.fixed.grid).smallest == pytest.approx(counted.smallest, rel=1e-4)
    for inverse in (result.inverse, read_inverse(path), invert(read_transform(path))):
        assert float(jacobian_image(inverse, mirrored.grid).data[::9, ::9].min()) > 0
    accidental = replace(result.stored, steps=(), about={}).transform
    assert regularity(accidental, pair.fixed.grid).folding_percent == 100
    assert regularity(Composite([read_transform(path)] * 2), pair.fixed.grid).folding_percent == 0


def test_mirror_images_are_not_preferred(shapes: PhantomPair) -> None:
    """They have to exceed the others, also for images that are symmetric themselves."""
    pair = pair_of(shapes.fixed, shapes.fixed)
    start = search_start(pair, AffineSettings(), torch.Generator().manual_seed(0), mirrored=True)
    assert start.is_headers and start.transform.handedness == 1


def test_headers_that_are_right_are_kept(shapes: PhantomPair) -> None:
    noise = torch.randn(shapes.fixed.grid.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    inverted = shapes.fixed.with_data(30 * noise - shapes.fixed.data)
    start = search(pair_of(shapes.fixed, inverted))
    assert start.is_headers and start.hypothesis == "none" and start.score == start.header_score


def test_ambiguous_images_cause_a_warning() -> None:
    """A rectangle that lies across: a quarter-turn to either side, neither of them the headers'."""
    grid = Grid.from_spacing((80, 90), (1.0, 1.0))
    data = torch.zeros(grid.shape, dtype=torch.float32)
    data[30:50, 15:75] = 1.0
    lying = torch.zeros(grid.shape, dtype=torch.float32)
    lying[10:70, 35:55] = 1.0
    with pytest.warns(PlausibilityWarning, match="found two different ones"):
        search(pair_of(Image(data, grid), Image(lying, grid)))


def test_images_without_common_structure_cause_a_warning() -> None:
    grid = Grid.from_spacing((70, 60), (1.0, 1.0))
    noise = torch.rand(2, *grid.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    with pytest.warns(PlausibilityWarning, match=r"found none of those that were tried \(best score"):
        search(pair_of(*(Image(each, grid) for each in noise)))


def test_registration_reports_its_start(brief: Settings) -> None:
    pair = stains_phantom(21, 165.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = register(pair.fixed, pair.moving, settings=brief, initial="auto")
        again = register(pair.fixed, pair.moving, settings=brief, initial="auto")
    facts = result.stored.about["initial_alignment"]
    assert {"hypothesis", "score", "score_of_headers", "margin", "map"} <= set(facts)
    assert facts["score"] > facts["score_of_headers"]
    assert torch.equal(result.stored.affine.matrix, again.stored.affine.matrix)


def test_a_fitted_map_that_agrees_less_is_no_improvement(shapes: PhantomPair) -> None:
    start = search(pair_of(shapes.fixed, shapes.fixed))
    assert start.is_headers and start.score == start.header_score
    same, away = AffineTransform.identity(2), AffineTransform.translation(torch.tensor([5.0, 0.0], dtype=torch.float64))
    assert start.improved_by(same) and not start.improved_by(away)
    moved = search(pair_of(shapes.fixed, replace(shapes.fixed, grid=shapes.fixed.grid.transformed(away.matrix))))
    assert not moved.is_headers and moved.improved_by(moved.transform) and not moved.improved_by(same)


def test_a_misleading_affine_fit_is_not_used(brief: Settings) -> None:
    """The correlation of intensities is wrong for stains: the map that it finds is discarded."""
    pair = stains_phantom(22, 75.0)
    settings = replace(brief, affine=replace(brief.affine, similarity="ncc"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        affine = register(pair.fixed, pair.moving, settings=settings, initial="auto").stored.affine
    points, targets = pair.landmarks.fixed.coordinates, pair.landmarks.moving.coordinates
    assert float((affine(points) - targets).norm(dim=-1).mean()) < 5.0
