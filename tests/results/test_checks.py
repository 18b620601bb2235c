"""Implausible results cause a warning, correct ones do not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from nephi.errors import PlausibilityWarning
from nephi.geometry import Grid
from nephi.images import Image
from nephi.optimize import register
from nephi.phantoms import PhantomPair, lung_phantom, shapes_phantom
from nephi.phantoms.grids import rotation
from nephi.preparation.pair import make_pair
from nephi.results.checks import check_affine, check_agreement, check_folding
from nephi.settings import Settings, preset, with_similarity
from nephi.settings.registration import ImageSettings
from nephi.transforms import AffineTransform, DisplacementField

Change = Callable[..., Settings]

pytestmark = pytest.mark.filterwarnings(
    "ignore::nephi.errors.PlausibilityWarning"
)  # Registration.warnings has their texts


def linear(*rows: list[float]) -> AffineTransform:
    matrix = torch.eye(len(rows) + 1, dtype=torch.float64)
    matrix[:-1, :-1] = torch.tensor(rows, dtype=torch.float64)
    return AffineTransform(matrix)


def messages(run: Callable[[], object]) -> list[str]:
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        run()
    assert all(w.category is PlausibilityWarning for w in issued)
    return [str(w.message) for w in issued]


def inverted(image: Image) -> Image:
    return image.with_data((1000 - image.data).to(torch.int16))


@pytest.mark.parametrize("angle", [0.0, 2.0])
def test_affine_parts_relative_to_the_initial_alignment(angle: float) -> None:
    """The initial alignment itself may reflect or change units, because the user gave it."""
    rotated = torch.block_diag(rotation(angle), torch.eye(1).double())
    start = AffineTransform(rotated @ torch.diag(torch.tensor([-1000.0, 1000, 1]).double()))
    for added, expected in (
        (linear([1.4, 0.3], [-0.2, 0.7]), []),
        (linear([-1.0, 0.0], [0.0, 1.0]), ["no reflection"]),
        (linear([1.0, 0.0], [0.0, 0.3]), ["1.00, 0.30"]),
        (linear([2.5, 0.0], [0.0, 1.0]), ["2.50, 1.00"]),
    ):
        texts = messages(lambda added=added: check_affine(start, AffineTransform(start.matrix @ added.matrix)))
        assert [text in message for text, message in zip(expected, texts, strict=True)] == [True] * len(expected)


def test_folding_inside_the_mask_and_in_the_whole_grid(shapes: PhantomPair) -> None:
    """A field that reverses a stripe of the grid, and one that folds at a single voxel."""
    grid = shapes.fixed.grid
    stripe, voxel = torch.zeros(*grid.shape, 2), torch.zeros(*grid.shape, 2)
    edge = grid.affine[:-1, 0].float()
    stripe[40:60] = -2 * (torch.arange(40, 60) - 49.5)[:, None, None] * edge
    voxel[50, 50] = 1.5 * edge
    for displacement, folds in ((stripe, True), (voxel, False)):
        for mask in (shapes.fixed_mask, None):
            pair = make_pair(shapes.fixed, shapes.fixed, mask, None, ImageSettings())
            transform = DisplacementField(displacement, grid)
            texts = messages(lambda pair=pair, phi=transform: check_folding(pair, phi, torch.Generator()))
            region = "of the grid of fixed phantom" if mask is None else f"inside {mask.name}"
            assert [region in text and "folding" in text for text in texts] == [True] * folds


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("masked", [True, False])
def test_correct_results_cause_no_warning(masked: bool, seed: int, quick: Settings) -> None:
    pair = shapes_phantom(seed=seed, motion=6.0, shape=(96, 96))
    masks = {"fixed_mask": pair.fixed_mask, "moving_mask": pair.moving_mask} if masked else {}
    assert register(pair.fixed, pair.moving, settings=quick, **masks).warnings == ()


@pytest.mark.parametrize("name", ["lung-ct-fast", "generic"])
def test_correct_results_of_presets_cause_no_warning(name: str) -> None:
    pair = lung_phantom(seed=3, motion=15.0, shape=(48, 36, 40))
    assert register(pair.fixed, pair.moving, preset=name).warnings == ()


def test_an_image_registered_to_itself_causes_no_warning(shapes: PhantomPair, quick: Settings) -> None:
    """Although the agreement can hardly increase."""
    assert register(shapes.fixed, shapes.fixed, settings=quick).warnings == ()


@pytest.mark.parametrize("name", ["mind", "nmi"])
def test_inverted_contrast_causes_no_warning_with_a_multimodal_similarity(
    name: str, shapes: PhantomPair, quick: Settings, changed: Change
) -> None:
    settings = with_similarity(quick, name)
    if name == "nmi":
        settings = changed(settings, objective={"radius": 0, "points": 1500})
    assert register(shapes.fixed, inverted(shapes.moving), settings=settings).warnings == ()


@pytest.mark.parametrize("seed", range(3))
def test_inverted_contrast_causes_a_warning_with_another_similarity(
    seed: int, shapes: PhantomPair, quick: Settings
) -> None:
    """And the affine part is not a reflection."""
    with pytest.warns(PlausibilityWarning):
        result = register(shapes.fixed, inverted(shapes.moving), settings=with_similarity(quick, "pooled"), seed=seed)
    assert torch.linalg.det(result.stored.affine.matrix[:-1, :-1]) > 0
    assert any(
        "bright structures of one image are dark in the other: try --preset multimodal" in w for w in result.warnings
    )


@pytest.mark.parametrize("background", [True, False])
def test_mapping_bright_structures_to_dark_ones_causes_a_warning(background: bool) -> None:
    """Also if a common background dominates, and the fit gained a little information."""
    grid = Grid.from_spacing((96, 96), (1.0, 1.0), (0.0, 0.0))
    outward = grid.voxel_centres().float() - 47.5
    radius = outward.norm(dim=-1)
    size, half_wave = 24.0 if background else 99.0, 4.0
    waves = 200 * torch.sin(torch.pi * radius / half_wave)
    fixed = torch.where(radius < size, 300 + waves, 0.0)
    moving = torch.where(radius < size + half_wave, 300 - waves, 0.0)
    pair = make_pair(Image(fixed, grid), Image(moving, grid), None, None, ImageSettings())
    shift = outward * (half_wave / radius * (radius < size))[..., None]
    wrong = DisplacementField(shift, grid)
    identity = AffineTransform.identity(2)
    generator = torch.Generator()
    texts = messages(lambda: check_agreement(pair, {"at the start": identity}, wrong, 1.0, generator))
    assert (
        len(texts) == 1
        and "bright structures are mapped to dark ones" in texts[0]
        and "try --preset multimodal" in texts[0]
    )
    assert messages(lambda: check_agreement(pair, {"at the start": identity}, identity, 1.0, generator)) == []


def blobs(grid: Grid, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    points, total = grid.voxel_centres(), torch.zeros(grid.shape)
    for _ in range(25):
        centre = 80 * (torch.rand(3, generator=generator) - 0.5)
        width, height = 4 + 8 * torch.rand(2, generator=generator)
        total += 10 * height * torch.exp(-(points - centre).square().sum(-1) / (2 * width**2))
    return total


@pytest.mark.parametrize("name", ["generic", "brain-mri"])
def test_inverted_contrast_in_3d(name: str) -> None:
    affine = torch.eye(4).double()
    affine[:3, :3] = torch.diag(torch.tensor([2.0, 2.0, 2.5]).double())
    affine[:3, 3] = -affine[:3, :3] @ torch.tensor([19.5, 17.5, 14.5]).double()
    grid = Grid((40, 36, 30), affine)
    fixed = Image(blobs(grid, 0), grid, name="fixed.nii")
    moving = Image(200 - blobs(grid.transformed(linear([1, 0.05, 0], [0, 0.95, 0], [0, 0, 1]).matrix), 0), grid)
    settings = preset(name)
    settings = replace(settings, transform="affine", affine=replace(settings.affine, initial="moments"))
    result = register(fixed, moving, settings=settings)
    assert torch.linalg.det(result.stored.affine.matrix[:-1, :-1]) > 0
    assert any("expected a higher agreement" in text and "multimodal" in text for text in result.warnings)


def test_unrelated_noise_causes_a_warning(quick: Settings, changed: Change) -> None:
    generator = torch.Generator().manual_seed(0)
    grid = Grid.from_spacing((48, 48, 48), (2.0, 2.0, 2.0))
    images = [Image(torch.randn(grid.shape, generator=generator), grid, name=f"{i}.nii") for i in range(2)]
    result = register(*images, settings=changed(quick, transform="affine"))
    assert any("0.nii and 1.nii: expected related images" in text for text in result.warnings)


def test_lower_agreement_than_by_the_headers_causes_a_warning(
    shapes: PhantomPair, quick: Settings, changed: Change
) -> None:
    """Unless the initial alignment was given as a transform."""
    settings = changed(quick, transform="affine", affine={"kind": "none", "initial": "centers", "rotations": 1})
    affine = shapes.fixed.grid.affine.clone()
    padded = torch.zeros(96 + 60, 96, dtype=shapes.fixed.data.dtype)
    padded[:96] = shapes.fixed.data
    moving = Image(padded, Grid((156, 96), affine), name="padded")
    settings = changed(settings, affine={"kind": "affine", "steps": 1, "rate": 1e-9})
    assert any(
        "in the position given by the headers" in text
        for text in register(shapes.fixed, moving, settings=settings).warnings
    )
    shift = moving.grid.centre_world() - shapes.fixed.grid.centre_world()
    result = register(shapes.fixed, moving, settings=settings, initial=AffineTransform.translation(shift))
    assert result.warnings == ()
