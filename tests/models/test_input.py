"""The input of a model: values at the right positions of the world, smoothed where voxels become larger."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.images import Image
from nephi.models import InputSettings, input_grid, to_model_input, world_transform
from nephi.phantoms import lung_phantom
from nephi.preparation import ranked_window
from nephi.transforms import AffineTransform

SETTINGS = {2: InputSettings((20, 14), (2.0, 3.0)), 3: InputSettings((20, 14, 10), (2.0, 3.0, 4.0))}


def wave(points: Tensor) -> Tensor:
    """Something smooth of world points, from -1 to 1."""
    return torch.sin(points.double() @ torch.tensor([0.07, -0.05, 0.03], dtype=torch.float64)[: points.shape[-1]])


def oblique(dimension: int, spacing: float) -> Grid:
    """Axes in another order, one of them backwards, all of them turned."""
    d = dimension
    turn = torch.linalg.qr(torch.tensor([[0.1, -1.0, 0.2], [1.0, 0.1, -0.1], [0.1, 0.1, 1.0]], dtype=torch.float64))[0]
    affine = torch.eye(d + 1, dtype=torch.float64)
    affine[:-1, :-1] = (turn if d == 3 else torch.linalg.qr(turn[:2, :2])[0]) * spacing
    affine[:-1, -1] = torch.tensor([120.0, -310.0, 55.0])[:d]
    return Grid((int(160 / spacing),) * d, affine)


@pytest.mark.parametrize("spacing", [0.8, 2.0, 4.0])
def test_values_are_those_of_the_world_around_the_centre(dimension: int, spacing: float) -> None:
    if dimension == 3 and spacing < 1:
        spacing = 1.3
    grid = oblique(dimension, spacing)
    image = Image((100 * wave(grid.voxel_centres())).to(torch.int16), grid)
    settings = replace(SETTINGS[dimension], window=(-100.0, 100.0))
    model_input = to_model_input(image, None, settings)
    torch.testing.assert_close(model_input.to_world[:-1, -1], grid.centre_world())
    expected = (wave(input_grid(settings).voxel_centres() + model_input.to_world[:-1, -1]) + 1) / 2
    assert model_input.values.shape == (1, *settings.shape) and model_input.values.dtype == torch.float32
    assert float((model_input.values[0] - expected).abs().max()) < 0.02


def test_the_field_of_view_is_scaled_to_the_box(dimension: int) -> None:
    """Its outer voxel borders come to lie on those of the box, and masks follow."""
    settings = replace(SETTINGS[dimension], window=(-100.0, 100.0), extent="image", mask="given")
    grid = Grid.from_spacing((50, 40, 30)[:dimension], (1.7, 2.3, 0.9)[:dimension], (12.0, -30.0, 7.0)[:dimension])
    image = Image(100 * wave(grid.voxel_centres()).float(), grid)
    mask = Image((grid.voxel_centres()[..., 0] > float(grid.centre_world()[0])).to(torch.uint8), grid)
    model_input = to_model_input(image, mask, settings)
    box = input_grid(settings)
    borders = [each.voxel_to_world_points(torch.tensor(each.shape).double() - 0.5) for each in (box, grid)]
    to_world = AffineTransform(model_input.to_world)
    torch.testing.assert_close(to_world(borders[0]), borders[1])
    torch.testing.assert_close(to_world(box.centre_world()), grid.centre_world())
    points = to_world(box.voxel_centres().double())
    inner = (slice(1, -1),) * dimension
    assert float((model_input.values[0] - (wave(points) + 1) / 2)[inner].abs().max()) < 0.05
    assert model_input.mask is not None
    assert torch.equal(model_input.mask[0] > 0, points[..., 0] > float(grid.centre_world()[0]))


def test_an_oblique_field_of_view_fits_into_the_box(dimension: int) -> None:
    grid = oblique(dimension, 4.0)
    settings = replace(SETTINGS[dimension], extent="image", window=(0.0, 1.0))
    model_input = to_model_input(Image(torch.rand(grid.shape), grid), None, settings)
    corners = AffineTransform(model_input.to_world).inverse()(grid.corners_world())
    half = torch.tensor(settings.shape).double() * torch.tensor(settings.spacing).double() / 2
    assert bool((corners.abs() < half).all()) and bool((corners.abs().amax(dim=0) > 0.9 * half).all())


def test_a_map_of_the_box_in_the_worlds_of_the_images(dimension: int) -> None:
    """phi(x) = T_moving(phi_box(T_fixed^-1 x))."""
    grids = oblique(dimension, 4.0), Grid.from_spacing((30, 20, 25)[:dimension], (2.0, 3.0, 2.5)[:dimension])
    settings = replace(SETTINGS[dimension], extent="image")
    fixed, moving = (to_model_input(Image(torch.rand(grid.shape), grid), None, settings) for grid in grids)
    points = grids[0].corners_world()
    aligned = world_transform(lambda x: x, fixed, moving)(points)
    expected = AffineTransform(moving.to_world)(AffineTransform(fixed.to_world).inverse()(points))
    torch.testing.assert_close(aligned, expected, rtol=0, atol=1e-4)
    back = world_transform(lambda x: x, moving, fixed)(aligned)
    torch.testing.assert_close(back, points, rtol=0, atol=1e-4)


def test_the_box_is_centred_on_the_origin(dimension: int) -> None:
    torch.testing.assert_close(input_grid(SETTINGS[dimension]).centre_world(), torch.zeros(dimension).double())


def test_detail_below_a_voxel_is_smoothed_away(dimension: int) -> None:
    """Without smoothing, stripes of one voxel would be resampled to stripes of any width."""
    grid = Grid.from_spacing((90, 80, 70)[:dimension], [0.5] * dimension)
    stripes = torch.arange(90).reshape(-1, *(1,) * (dimension - 1)) % 2
    values = to_model_input(Image(stripes.expand(grid.shape).to(torch.uint8), grid), None, SETTINGS[dimension]).values
    inside = values[(0, *(slice(n // 2 - 2, n // 2 + 2) for n in SETTINGS[dimension].shape))]
    assert float((inside - 0.5).abs().max()) < 0.02


def test_an_image_on_the_box_is_unchanged(dimension: int) -> None:
    settings = replace(SETTINGS[dimension], window=(0.0, 1.0))
    image = Image(torch.rand(settings.shape, generator=torch.Generator().manual_seed(0)), input_grid(settings))
    torch.testing.assert_close(to_model_input(image, None, settings).values[0], image.data, atol=1e-5, rtol=0)


def test_values_beyond_the_border_are_zero(dimension: int) -> None:
    grid = Grid.from_spacing((4,) * dimension, [2.0] * dimension)
    values = to_model_input(
        Image(torch.rand(grid.shape) + 1, grid), None, replace(SETTINGS[dimension], window=(0.0, 1.0))
    ).values
    assert float(values[(0,) * (dimension + 1)]) == 0
    assert float(values.max()) == 1


def test_the_mask_is_centred_and_its_outside_filled(dimension: int) -> None:
    grid = oblique(dimension, 4.0)
    image = Image(torch.rand(grid.shape) + 1, grid)
    inside = torch.zeros(grid.shape, dtype=torch.uint8)
    inside[(slice(8, 14),) * dimension] = 1
    doubled = grid.affine @ torch.diag(torch.tensor([2.0] * dimension + [1.0], dtype=torch.float64))
    coarse = Grid(tuple(n // 2 for n in grid.shape), doubled)
    own = Image(inside[(slice(None, None, 2),) * dimension], coarse, name="mask")
    settings = replace(SETTINGS[dimension], mask="given", outside_mask="dark", centre="mask", window=(0.0, 1.0))
    model_input = to_model_input(image, own, settings)
    torch.testing.assert_close(
        model_input.to_world[:-1, -1], grid.voxel_to_world_points(torch.tensor([10.0] * dimension).double())
    )
    from_centre = input_grid(settings).voxel_centres().norm(dim=-1)
    assert bool((model_input.values[0][from_centre < 9] == 1).all())
    assert bool((model_input.values[0][from_centre > 21.5] == 0).all())
    assert model_input.mask is not None and torch.equal(model_input.mask > 0, model_input.values > 0)
    bright = to_model_input(image, own, replace(settings, outside_mask="bright"))
    assert bool((bright.values[0][from_centre > 21.5] == 1).all())


def test_masks_are_segmented_or_required() -> None:
    settings = replace(SETTINGS[3], mask="lungs", centre="mask")
    pair = lung_phantom(seed=1, shape=(44, 34, 36))
    found, given = (to_model_input(pair.fixed, mask, settings).to_world[:-1, -1] for mask in (None, pair.fixed_mask))
    assert 0 < float((found - given).norm()) < 15
    with pytest.raises(DataError, match=r'expected a mask for input\.mask = "given"'):
        to_model_input(pair.fixed, None, replace(settings, mask="given"))
    settings = replace(settings, mask="foreground")
    assert (
        float((to_model_input(pair.fixed, None, settings).to_world[:-1, -1] - pair.fixed.grid.centre_world()).norm())
        < 30
    )


def test_the_window_follows_each_image() -> None:
    grid = Grid.from_spacing((30, 30), [2.0, 2.0])
    data = torch.rand(grid.shape, generator=torch.Generator().manual_seed(0))
    values = [to_model_input(Image(scale * data - 7, grid), None, SETTINGS[2]).values for scale in (1.0, 1000.0)]
    torch.testing.assert_close(*values, atol=1e-4, rtol=0)
    assert 0.9 < float(values[0].max()) <= 1


def test_unsuitable_images_are_refused(dimension: int) -> None:
    grid = Grid.from_spacing((9,) * dimension, [1.0] * dimension)
    with pytest.raises(DataError, match=f"odd: expected a {5 - dimension}-D image, the dimension of the model"):
        to_model_input(Image(torch.rand(grid.shape), grid, name="odd"), None, SETTINGS[5 - dimension])
    with pytest.raises(DataError, match="odd: expected finite voxels"):
        to_model_input(Image(torch.full(grid.shape, torch.nan), grid, name="odd"), None, SETTINGS[dimension])
    with pytest.raises(DataError, match="odd: expected an image with contrast"):
        to_model_input(Image(torch.ones(grid.shape), grid, name="odd"), None, SETTINGS[dimension])


@pytest.mark.parametrize("smoothing", ["gaussian", "none"])
def test_an_image_between_the_voxels_of_the_box_is_refused(dimension: int, smoothing: str) -> None:
    """One voxel thick: the model would see nothing of it. One that reaches a voxel centre is seen."""
    settings = replace(SETTINGS[dimension], window=(0.0, 1.0), smoothing=smoothing)
    shape = (20, 16, 1)[3 - dimension :]
    data = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    thin, thick = (Grid.from_spacing(shape, (*(2.0,) * (dimension - 1), last)) for last in (1.0, 4.5))
    with pytest.raises(DataError, match=r"expected an image that contains voxel centres .*, too thin for this model$"):
        to_model_input(Image(data, thin), None, settings)
    assert float(to_model_input(Image(data, thick), None, settings).values.mean()) > 0.01


def test_without_smoothing_windowed_and_masked_voxels_are_interpolated(dimension: int) -> None:
    """As `torch.nn.functional.interpolate` resizes them: half-pixel centres, the border continued."""
    generator = torch.Generator().manual_seed(0)
    grid = Grid.from_spacing((31, 12, 9)[:dimension], (1.7, 2.3, 0.9)[:dimension], (12.0, -30.0, 7.0)[:dimension])
    image = Image((400 * torch.randn(grid.shape, generator=generator)).to(torch.int16), grid)
    mask = Image((torch.rand(grid.shape, generator=generator) > 0.4).to(torch.uint8), grid)
    settings = replace(SETTINGS[dimension], extent="image", mask="given", outside_mask="dark", smoothing="none")
    ranked = replace(settings, percentiles_of="image", percentiles=(0.0, 100.0), highest=0.9)
    for chosen in (replace(settings, window=(-200.0, 300.0)), ranked):
        low, high = chosen.window or ranked_window(image, chosen.percentiles)
        voxels = chosen.highest * (image.data.float().clamp(low, high) - low) / (high - low) * mask.data
        mode = "bilinear" if dimension == 2 else "trilinear"
        expected = torch.nn.functional.interpolate(voxels[None, None], chosen.shape, mode=mode, align_corners=False)
        torch.testing.assert_close(to_model_input(image, mask, chosen).values, expected[0], rtol=0, atol=2e-5)


def test_a_window_of_ranks_counts_all_voxels() -> None:
    values = torch.tensor([[0.0] * 5, [0.0, 0.0, 0.0, 7.0, 9.0]])
    image = Image(values, Grid.from_spacing((2, 5), (1.0, 1.0)), name="odd")
    assert ranked_window(image, (0.0, 100.0)) == (0.0, 9.0)
    assert ranked_window(image, (0.0, 99.0)) == (0.0, 7.0)  # the 9th of 10
    assert ranked_window(image.with_data(values.half()), (80.0, 90.0)) == (0.0, 7.0)
    assert ranked_window(image.with_data(values.to(torch.int16)), (0.0, 95.0)) == (0.0, 7.0)
    with pytest.raises(DataError, match="odd: expected different intensities at the percentiles 0 and 50 of all"):
        ranked_window(image, (0.0, 50.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (8,)}, r"input.shape: expected 2 or 3 numbers of voxels of at least 2, got \(8,\)"),
        ({"spacing": (1.0,)}, r"input.spacing: expected 2 lengths in mm above 0, got \(1.0,\)"),
        ({"spacing": (1.0, 0.0)}, "input.spacing: expected 2 lengths"),
        ({"window": (2.0, 1.0)}, "input.window: expected two numbers, low below high"),
        ({"percentiles": (50.0, 40.0)}, "input.percentiles: expected"),
        ({"mask": "brain"}, "input.mask: expected one of none, given, lungs, foreground, got 'brain'"),
        ({"extent": "world"}, "input.extent: expected one of fixed, image, got 'world'"),
        (
            {"mask": "given", "centre": "mask", "extent": "image"},
            'input.centre: expected "image" for extent = "image", got "mask"',
        ),
        ({"highest": 0.0}, "input.highest: expected 0.01 to 1, got 0.0"),
        ({"smoothing": "box"}, "input.smoothing: expected one of gaussian, none, got 'box'"),
        ({"percentiles_of": "mask"}, "input.percentiles_of: expected one of foreground, image, got 'mask'"),
        ({"centre": "middle"}, "input.centre: expected one of"),
        (
            {"outside_mask": "dark"},
            'input.mask: expected given, lungs or foreground for outside_mask = "dark", got none',
        ),
        ({"centre": "mask"}, 'input.mask: expected given, lungs or foreground for centre = "mask", got none'),
    ],
)
def test_invalid_settings_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(SETTINGS[2], **change)
