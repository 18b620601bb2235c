"""The detail length of images with a known spectrum."""

import math

import pytest
import torch

from nephi.geometry import Grid
from nephi.images import Image, detail_length
from nephi.phantoms.waves import PlaneWaves

SHAPES = {2: (150, 130), 3: (38, 34, 30)}
SPACINGS = {2: (0.8, 1.1), 3: (0.9, 1.0, 1.3)}


def oblique(shape: tuple[int, ...], spacing: tuple[float, ...]) -> Grid:
    """Return a grid whose first axes are rotated in their plane."""
    affine = Grid.from_spacing(shape, spacing).affine.clone()
    cosine, sine = math.cos(0.4), math.sin(0.4)
    rotation = torch.eye(len(shape), dtype=torch.float64)
    rotation[:2, :2] = torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float64)
    affine[:-1, :-1] = rotation @ affine[:-1, :-1]
    return Grid(shape, affine)


def texture(grid: Grid, wavelength: float, noise: float = 0.0, seed: int = 0) -> Image:
    """Return an isotropic texture of rms 100 around 1000 with one wavelength (mm), and independent noise."""
    generator = torch.Generator().manual_seed(seed)
    waves = PlaneWaves.random(120, 1, grid.dimension, (wavelength, wavelength), generator)
    values = 1000 + 100 * waves(grid.voxel_centres().double())[..., 0]
    return Image(values + noise * torch.randn(grid.shape, generator=generator, dtype=torch.float64), grid)


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("wavelength", [10.0, 14.0])
def test_is_half_the_wavelength_of_a_texture(dimension: int, wavelength: float) -> None:
    image = texture(oblique(SHAPES[dimension], SPACINGS[dimension]), wavelength)
    assert detail_length(image) == pytest.approx(wavelength / 2, rel=0.08)


def test_single_wave_along_an_axis_in_closed_form() -> None:
    """Differences of a sine are sines, smaller by `2 sin(k h / 2)` each time; along other axes they are 0."""
    wavelength, spacing = 9.0, 0.75
    positions = spacing * torch.arange(240, dtype=torch.float64)  # 20 whole periods
    data = torch.sin(2 * math.pi / wavelength * positions)[:, None].expand(-1, 30).contiguous()
    image = Image(data, Grid.from_spacing(data.shape, (spacing, 2.0)))
    mask = image.with_data(torch.ones(data.shape, dtype=torch.uint8))
    expected = math.pi * math.sqrt(3 / 4) * spacing / (2 * math.sin(math.pi * spacing / wavelength))
    assert detail_length(image, mask) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("dimension", [2, 3])
def test_scales_with_the_coordinates(dimension: int) -> None:
    image = texture(oblique(SHAPES[dimension], SPACINGS[dimension]), 9.0, noise=20.0)
    affine = image.grid.affine.clone()
    affine[:-1] *= 2
    assert detail_length(image.with_grid(Grid(image.grid.shape, affine))) == pytest.approx(2 * detail_length(image))


def test_does_not_depend_on_scale_and_offset_of_intensities() -> None:
    image = texture(oblique(SHAPES[3], SPACINGS[3]), 9.0, noise=20.0)
    other = image.with_data(0.01 * image.data - 7)
    assert detail_length(other) == pytest.approx(detail_length(image), rel=1e-4)


@pytest.mark.parametrize("dimension", [2, 3])
def test_finer_voxels_hardly_change_it(dimension: int) -> None:
    """A small image that is resampled to more voxels does not gain detail."""
    shape, spacing = SHAPES[dimension], SPACINGS[dimension]
    fine = tuple(2 * n for n in shape), tuple(s / 2 for s in spacing)
    lengths = [detail_length(texture(oblique(*box), 12.0)) for box in ((shape, spacing), fine)]
    assert lengths[1] == pytest.approx(lengths[0], rel=0.08)


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("noise", [20.0, 150.0])
def test_noise_hardly_changes_it(dimension: int, noise: float) -> None:
    """Up to noise above the contrast of the texture, where the image is measured at a lower resolution."""
    grid = oblique(SHAPES[dimension], SPACINGS[dimension])
    assert detail_length(texture(grid, 12.0, noise)) == pytest.approx(6.0, rel=0.3)


def test_thick_slices_do_not_hide_the_detail_within() -> None:
    grid = oblique((60, 50, 12), (1.0, 1.0, 5.0))
    assert 4.0 < detail_length(texture(grid, 10.0)) < 7.0


def test_only_voxels_of_the_mask_count() -> None:
    grid = oblique(SHAPES[2], SPACINGS[2])
    fine, coarse = texture(grid, 8.0), texture(grid, 20.0)
    left = torch.zeros(grid.shape, dtype=torch.uint8)
    left[:75] = 1
    image = fine.with_data(torch.where(left > 0, fine.data, coarse.data))
    inside = detail_length(image, image.with_data(left))
    outside = detail_length(image, image.with_data(1 - left))
    assert inside == pytest.approx(4.0, rel=0.1) and outside == pytest.approx(10.0, rel=0.1)


def test_window_hides_what_lies_beyond_it() -> None:
    """A single bright voxel would dominate the differences."""
    image = texture(oblique(SHAPES[2], SPACINGS[2]), 16.0)
    data = image.data.clone()
    data[70, 60] += 5000
    bright = image.with_data(data)
    assert detail_length(bright) < 4 < detail_length(bright, None, (700.0, 1300.0))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int16, torch.float16])
def test_all_types_of_voxels(dtype: torch.dtype) -> None:
    image = texture(oblique((40, 36), (1.0, 1.2)), 12.0)
    data = image.data > 1000 if dtype == torch.bool else ((image.data - 600) / 4).to(dtype)
    mask = image.with_data(torch.ones(image.data.shape, dtype=torch.uint8))
    assert 1 < detail_length(image.with_data(data), mask) < 12


@pytest.mark.parametrize("shape", [(3, 4), (20, 30), (1, 60, 50)])
def test_images_without_structure_have_the_length_of_their_box(shape: tuple[int, ...]) -> None:
    data = torch.zeros(shape, dtype=torch.float32)
    data.view(-1)[0] = 1.0
    grid = Grid.from_spacing(shape, [2.0] * len(shape))
    assert detail_length(Image(data, grid)) == 2.0 * max(shape)


@pytest.mark.parametrize("shape", [(64, 64, 3), (64, 64, 1), (64, 64, 2)])
def test_noise_in_a_few_slices_ends(shape: tuple[int, int, int]) -> None:
    """An axis of one voxel cannot be halved further, whatever its spacing."""
    data = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    grid = Grid(shape, torch.diag(torch.tensor([1.0, 1.0, 0.5, 1.0], dtype=torch.float64)))
    assert 2.0 < detail_length(Image(data, grid)) <= 64.0
