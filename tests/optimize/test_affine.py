"""Initial alignment and affine fit."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nephi.errors import DataError, PlausibilityWarning, UsageError
from nephi.geometry import Grid
from nephi.images import Image, resample
from nephi.optimize import register
from nephi.optimize.affine import STRETCH, fit_affine
from nephi.optimize.initial_alignment import initial_alignment, require_overlap
from nephi.phantoms import PhantomPair
from nephi.phantoms.grids import rotation
from nephi.preparation.pair import Pair, make_pair
from nephi.runtime import Progress, ignore_progress
from nephi.settings import Settings
from nephi.settings.registration import AffineSettings, ImageSettings
from nephi.transforms import AffineTransform, Composite, DisplacementField

SETTINGS = AffineSettings(smoothing=(5.0,), steps=100, points=1500, rate=1e-2)
RADIUS = 60.0  # mm from the centre at which errors are measured: the rim of the phantom's disc


def about(centre: Tensor, linear: Tensor, shift: Tensor) -> AffineTransform:
    """x -> linear (x - centre) + centre + shift."""
    d = len(centre)
    matrix = torch.eye(d + 1, dtype=torch.float64)
    matrix[:d, :d], matrix[:d, d] = linear, centre - linear @ centre + shift
    return AffineTransform(matrix)


def error_of(fitted: AffineTransform, true: AffineTransform) -> float:
    """Largest distance in mm between both maps at RADIUS from the origin."""
    angle = torch.linspace(0, 6.28, 50).double()
    if true.dimension == 2:
        points = torch.stack([angle.cos(), angle.sin()], dim=1)
    else:
        points = torch.nn.functional.normalize(torch.stack([angle.cos(), angle.sin(), (3 * angle).cos()], dim=1), dim=1)
    return float((fitted(RADIUS * points) - true(RADIUS * points)).norm(dim=-1).max())


def transformed_image(image: Image, true: AffineTransform) -> Image:
    """The moving image with moving(true(x)) = fixed(x), on a grid that is rotated with it but not sheared."""
    left, _, right = torch.linalg.svd(true.matrix[:-1, :-1])
    centre = image.grid.centre_world()
    rigid = about(centre, left @ right, true(centre) - centre)
    return resample(image, image.grid.transformed(rigid.matrix), true.inverse(), "bspline")


def known(kind: str, dimension: int) -> AffineTransform:
    """A shift of about 10 mm, a rotation, and (affine) stretch and shear."""
    linear = rotation(0.15) if dimension == 2 else rotation(0.08, -0.1, 0.12)
    if kind == "affine":
        linear = linear @ (
            torch.eye(dimension).double()
            + 0.08 * torch.tensor([[1.0, 0.7, 0], [0, -1, 0.5], [0, 0, 1]])[:dimension, :dimension].double()
        )
    return about(torch.zeros(dimension).double(), linear, torch.tensor([6.0, -4.0, 5.0][:dimension]).double())


@pytest.fixture(scope="module")
def blobs() -> Image:
    """A 3-D image of 30 Gaussian blobs within 60 mm, on an oblique left-handed grid."""
    generator = torch.Generator().manual_seed(4)
    directions = rotation(0.2, -0.1, 0.3) @ torch.diag(torch.tensor([1.0, -1.0, 1.0]).double())
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3] = directions * torch.tensor([4.0, 4.5, 5.0])
    affine[:3, 3] = -affine[:3, :3] @ torch.tensor([19.5, 17.5, 15.5]).double()
    grid = Grid((40, 36, 32), affine)
    centres = 80 * (torch.rand(30, 3, generator=generator) - 0.5)
    heights = torch.rand(30, generator=generator) + 0.5
    points = grid.voxel_centres()
    data = sum(
        h * torch.exp(-(points - c).square().sum(-1) / (2 * 11.0**2)) for c, h in zip(centres, heights, strict=True)
    )
    return Image(1000 * data, grid, name="blobs")


@pytest.mark.parametrize("kind", ["rigid", "affine"])
@pytest.mark.parametrize("dimension", [2, 3])
def test_known_map_is_recovered(kind: str, dimension: int, shapes: PhantomPair, blobs: Image) -> None:
    fixed = shapes.moving if dimension == 2 else blobs
    true = known(kind, dimension)
    pair = make_pair(fixed, transformed_image(fixed, true), None, None, ImageSettings())
    start = initial_alignment(pair, "none")
    generator = torch.Generator().manual_seed(0)
    fitted = fit_affine(pair, start, SETTINGS, kind, generator, ignore_progress, 100)
    assert error_of(start, true) > 8
    assert error_of(fitted, true) < (0.3 if dimension == 2 else 0.5)  # voxels are 1.6 mm, and 4 to 5 mm


@pytest.mark.parametrize("dimension", [2, 3])
def test_fit_refines_an_initial_alignment_with_rotation(dimension: int, shapes: PhantomPair, blobs: Image) -> None:
    """The fitted map acts around the fixed centre, before the initial alignment."""
    fixed = shapes.moving if dimension == 2 else blobs
    linear = rotation(1.3) if dimension == 2 else rotation(0.9, -0.6, 0.5)
    start = about(torch.zeros(dimension).double(), linear, torch.full((dimension,), 40.0).double())
    true = AffineTransform(start.matrix @ known("affine", dimension).matrix)
    pair = make_pair(fixed, transformed_image(fixed, true), None, None, ImageSettings())
    fitted = fit_affine(pair, start, SETTINGS, "affine", torch.Generator().manual_seed(0), ignore_progress, 100)
    assert error_of(start, true) > 8
    assert error_of(fitted, true) < (0.3 if dimension == 2 else 0.5)


@pytest.mark.parametrize("dimension", [2, 3])
def test_rigid_fit_is_rigid(dimension: int, shapes: PhantomPair, blobs: Image) -> None:
    """Also if the true map is affine."""
    fixed = shapes.moving if dimension == 2 else blobs
    pair = make_pair(fixed, transformed_image(fixed, known("affine", dimension)), None, None, ImageSettings())
    settings = replace(SETTINGS, steps=20)
    fitted = fit_affine(
        pair, initial_alignment(pair, "none"), settings, "rigid", torch.Generator(), ignore_progress, 20
    )
    linear = fitted.matrix[:-1, :-1]
    torch.testing.assert_close(linear @ linear.T, torch.eye(dimension).double(), rtol=0, atol=1e-6)
    assert torch.linalg.det(linear) > 0


@pytest.mark.parametrize("dimension", [2, 3])
def test_affine_fit_never_adds_a_reflection(dimension: int, shapes: PhantomPair, blobs: Image) -> None:
    """Images of inverted contrast are most similar when reflected. A reflection in the initial alignment is kept."""
    fixed = shapes.moving if dimension == 2 else blobs
    moving = fixed.with_data(fixed.data.amax() - fixed.data)
    mirror = torch.diag(torch.tensor([-1.0] + [1.0] * dimension).double())
    for start in (AffineTransform.identity(dimension), AffineTransform(mirror)):
        placed = moving.with_grid(moving.grid.transformed(start.matrix))
        pair = make_pair(fixed, placed, None, None, ImageSettings())
        settings = replace(SETTINGS, steps=300, rate=3e-2)
        fitted = fit_affine(pair, start, settings, "affine", torch.Generator().manual_seed(0), ignore_progress, 300)
        relative = torch.linalg.solve(start.matrix, fitted.matrix)[:-1, :-1]
        assert torch.linalg.det(relative) > 0
        assert float(torch.linalg.svdvals(relative)[-1]) > 1 / STRETCH - 1e-4


def test_fit_starts_from_the_initial_alignment(shapes: PhantomPair) -> None:
    true = known("affine", 2)
    pair = make_pair(shapes.moving, transformed_image(shapes.moving, true), None, None, ImageSettings())
    settings = replace(SETTINGS, steps=3, rate=1e-9)
    fitted = fit_affine(pair, true, settings, "affine", torch.Generator(), ignore_progress, 3)
    assert error_of(fitted, true) < 1e-4


def test_fit_is_reproducible_and_reports_progress(shapes: PhantomPair) -> None:
    pair = make_pair(shapes.fixed, shapes.moving, None, None, ImageSettings())
    settings = replace(SETTINGS, smoothing=(8.0, 4.0), steps=30)
    start = initial_alignment(pair, "moments")
    reports: list[Progress] = []
    first, again, other = (
        fit_affine(pair, start, settings, "affine", torch.Generator().manual_seed(seed), reports.append, 100).matrix
        for seed in (5, 5, 6)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert [p.step for p in reports[:3]] == [20, 40, 60] and reports[0].total == 100 and reports[0].stage == "affine"
    assert all(abs(p.loss) < 2 for p in reports)


MICROMETRES = torch.tensor([1000.0, 1000.0, 1.0], dtype=torch.float64)


@pytest.fixture
def far_pair(shapes: PhantomPair) -> Pair:
    """The moving image is shifted by 300 mm and padded on one side: centre of mass and image centre differ."""
    padded = torch.zeros(96 + 40, 96, dtype=torch.int16)
    padded[:96] = shapes.fixed.data
    affine = shapes.fixed.grid.affine.clone()
    affine[:2, 2] += torch.tensor([300.0, -120.0])
    return make_pair(shapes.fixed, Image(padded, Grid((136, 96), affine), name="far"), None, None, ImageSettings())


def test_moments_align_the_centres_of_mass(far_pair: Pair) -> None:
    shift = initial_alignment(far_pair, "moments").matrix[:2, 2]
    # Noise on the padding shifts the centre of mass by a few mm.
    torch.testing.assert_close(shift, torch.tensor([300.0, -120.0]).double(), rtol=0, atol=4.0)


def test_moments_of_masks_are_exact(far_pair: Pair, shapes: PhantomPair) -> None:
    mask = torch.zeros(136, 96, dtype=torch.uint8)
    mask[:96] = shapes.fixed_mask.data
    moving_mask = Image(mask, far_pair.moving.grid)
    pair = replace(far_pair, fixed_mask=shapes.fixed_mask, moving_mask=moving_mask)
    shift = initial_alignment(pair, "moments").matrix[:2, 2]
    torch.testing.assert_close(shift, torch.tensor([300.0, -120.0]).double())


def test_centers_align_the_image_centres(far_pair: Pair) -> None:
    start = initial_alignment(far_pair, "centers")
    torch.testing.assert_close(start(far_pair.fixed.grid.centre_world()), far_pair.moving.grid.centre_world())
    assert torch.equal(start.matrix[:2, :2], torch.eye(2).double())


def test_none_is_the_identity(far_pair: Pair) -> None:
    assert torch.equal(initial_alignment(far_pair, "none").matrix, torch.eye(3).double())


def test_unknown_initial_alignment_lists_the_known_ones(far_pair: Pair) -> None:
    with pytest.raises(UsageError, match=r"initial: expected one of auto, auto-mirrored, moments, .* got 'middle'"):
        initial_alignment(far_pair, "middle")


def test_images_without_overlap_are_refused(far_pair: Pair) -> None:
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(DataError, match=r"fixed phantom and far: .*found 0\.0 % .*--initial"):
        require_overlap(far_pair, initial_alignment(far_pair, "none"), generator)
    require_overlap(far_pair, initial_alignment(far_pair, "moments"), generator)


def test_images_in_different_units_cause_a_warning(far_pair: Pair) -> None:
    pair = replace(far_pair, fixed=far_pair.fixed.with_grid(far_pair.fixed.grid.transformed(torch.diag(MICROMETRES))))
    with pytest.warns(PlausibilityWarning, match=r"expected images of similar size, found .*e\+05 and \d+ mm .* unit"):
        require_overlap(pair, initial_alignment(pair, "centers"), torch.Generator().manual_seed(0))


Change = Callable[..., Settings]


def only_start(brief: Settings, changed: Change) -> Settings:
    return changed(brief, affine={"kind": "none"}, optimization={"rate": 1e-9})


def test_initial_transform_is_used(shapes: PhantomPair, brief: Settings, changed: Change) -> None:
    initial = known("affine", 2)
    moving = transformed_image(shapes.moving, initial)
    result = register(shapes.moving, moving, settings=only_start(brief, changed), initial=initial)
    assert torch.equal(result.stored.affine.matrix, initial.matrix)


def test_initial_composition_is_multiplied_in_its_order(shapes: PhantomPair, brief: Settings, changed: Change) -> None:
    a, b = known("affine", 2), known("rigid", 2)
    result = register(
        shapes.fixed, shapes.moving, settings=only_start(brief, changed), initial=Composite([a, Composite([b, a])])
    )
    point = torch.tensor([3.0, -7.0]).double()
    torch.testing.assert_close(result.stored.affine(point), a(b(a(point))))


def test_deformation_as_initial_alignment_is_refused(shapes: PhantomPair, brief: Settings) -> None:
    grid = shapes.fixed.grid
    field = DisplacementField(torch.zeros(*grid.shape, 2), grid)
    for initial in (field, Composite([known("rigid", 2), field])):
        with pytest.raises(UsageError, match="initial: expected an affine transform"):
            register(shapes.fixed, shapes.moving, settings=brief, initial=initial)


def test_initial_transform_of_another_dimension_is_refused(shapes: PhantomPair, brief: Settings) -> None:
    with pytest.raises(UsageError, match="expected a 2-D transform, the dimension of the images, got 3-D"):
        register(shapes.fixed, shapes.moving, settings=brief, initial=AffineTransform.identity(3))


@pytest.mark.parametrize("kind", ["rigid", "affine"])
def test_register_without_deformation(kind: str, shapes: PhantomPair, quick: Settings, changed: Change) -> None:
    true = known(kind, 2)
    settings = changed(quick, transform=kind, affine={"steps": 120, "rate": 1e-2})
    result = register(shapes.moving, transformed_image(shapes.moving, true), settings=settings)
    assert isinstance(result.transform, AffineTransform) and isinstance(result.inverse, AffineTransform)
    assert error_of(result.transform, true) < 0.3
    assert error_of(result.inverse, true.inverse()) < 0.3
    assert result.history == [] and result.stored.steps == ()
