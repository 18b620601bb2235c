"""Test resampling: shifts by whole voxels, agreement with scipy, and voxel types."""

import warnings

import pytest
import torch
from scipy.ndimage import map_coordinates

from nephi.errors import DataWarning, UsageError
from nephi.geometry import Grid
from nephi.images import INTERPOLATIONS, Image, resample

every_interpolation = pytest.mark.parametrize("interpolation", INTERPOLATIONS)
SCIPY = {"linear": (1, "nearest"), "nearest": (0, "nearest"), "bspline": (3, "mirror")}


def identity(points: torch.Tensor) -> torch.Tensor:
    return points


@pytest.mark.filterwarnings(
    "ignore::nephi.errors.DataWarning"
)  # random numbers are no labels; uint8 cannot represent -7
@every_interpolation
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int16, torch.int64, torch.float32, torch.float64])
def test_identity_returns_the_image(grid, random_image, interpolation, dtype) -> None:
    image = random_image(grid, dtype if dtype != torch.uint8 else torch.int16)
    image = image.with_data((image.data.abs() % 256).to(dtype)) if dtype == torch.uint8 else image
    resampled = resample(image, grid, identity, interpolation, outside=-7.0)
    assert resampled.grid is grid and resampled.data.dtype == dtype
    tolerance = 0.1 if dtype.is_floating_point else 0
    torch.testing.assert_close(resampled.data, image.data, rtol=0, atol=tolerance)


@every_interpolation
def test_shift_by_whole_voxels(grid, random_image, interpolation) -> None:
    image = random_image(grid)
    step = grid.affine[:-1, 1].float()
    shifted = resample(image, grid, lambda x: x + 2 * step, interpolation, outside=-999.0).data
    assert torch.equal(shifted[:, :-2], image.data[:, 2:])
    assert (shifted[:, -2:] == -999).all()


@pytest.mark.parametrize("interpolation", SCIPY)
def test_against_scipy(grid, random_image, interpolation) -> None:
    image = random_image(Grid((18, 17, 16)[: grid.dimension], grid.affine), torch.float32)
    reference = Grid(grid.shape, grid.affine @ torch.linalg.inv(rotated_voxels(grid)))
    points = image.grid.world_to_voxel_points(reference.voxel_centres().double())
    order, mode = SCIPY[interpolation]
    positions = points.movedim(-1, 0).numpy()
    expected = torch.from_numpy(map_coordinates(image.data.numpy(), positions, order=order, mode=mode))
    inside = ((points >= 0) & (points <= torch.tensor(image.grid.shape) - 1)).all(dim=-1)
    if interpolation == "nearest":  # half-way between two voxels both are nearest
        inside &= ((points - points.floor() - 0.5).abs() > 1e-3).all(dim=-1)
    resampled = resample(image, reference, identity, interpolation, outside=-5.0).data
    assert inside.sum() > 10
    torch.testing.assert_close(resampled[inside], expected[inside], rtol=0, atol=0.3)
    assert (resampled[~image.grid.contains_voxel_points(points)] == -5).all()


def test_a_result_outside_of_the_image_warns(grid, random_image) -> None:
    image = random_image(grid)
    with pytest.warns(DataWarning, match="no voxel of the reference falls inside the image: all .* is -3"):
        assert (resample(image, grid, lambda points: points + 1e4, outside=-3.0).data == -3).all()
    step = grid.affine[:-1, 0].float() * (grid.shape[0] - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        resample(image, grid, lambda points: points + step)  # one slice


def rotated_voxels(grid: Grid) -> torch.Tensor:
    """Return a voxel matrix that rotates and shifts, so that voxels of reference and image do not coincide."""
    matrix = torch.eye(grid.dimension + 1, dtype=torch.float64)
    matrix[0, 1], matrix[1, 0] = 0.31, -0.27
    matrix[:-1, -1] = torch.tensor([-1.37, 0.71, -2.13])[: grid.dimension]
    return matrix


def test_a_reference_with_permuted_axes_yields_permuted_voxels(grid, random_image) -> None:
    order = [*range(1, grid.dimension), 0]
    image = random_image(grid)
    reference = Grid(tuple(grid.shape[i] for i in order), grid.affine[:, [*order, grid.dimension]])
    assert torch.equal(resample(image, reference, identity).data, image.data.permute(order))


def test_resampling_is_independent_of_memory_order(grid, random_image) -> None:
    image = random_image(grid)
    back = list(reversed(range(grid.dimension)))
    stored = image.with_data(image.data.permute(back).contiguous().permute(back))
    half = 0.4 * grid.affine[:-1, 0].float()
    for interpolation in INTERPOLATIONS:
        one, other = (resample(i, grid, lambda x: x + half, interpolation) for i in (image, stored))
        assert torch.equal(one.data, other.data)


@every_interpolation
def test_half_a_voxel_of_border_belongs_to_the_image(interpolation) -> None:
    image = Image(torch.tensor([[10.0, 20.0, 30.0]] * 3), Grid.from_spacing((3, 3), (1.0, 1.0)))
    for position, inside in [(-0.6, False), (-0.4, True), (2.4, True), (2.6, False)]:
        reference = Grid.from_spacing((1, 1), (1.0, 1.0), (1.0, position))
        value = resample(image, reference, identity, interpolation, outside=-1.0).data.item()
        assert value > 5 if inside else value == -1


STEP = torch.tensor([[0, 0, 0, 255, 255, 255]] * 6, dtype=torch.uint8)  # a spline overshoots on both sides


def test_integers_are_clamped_without_overflow() -> None:
    grid = Grid.from_spacing((6, 6), (1.0, 1.0))
    shift = torch.tensor([0.0, 0.4])
    resampled = resample(Image(STEP, grid), grid, lambda x: x + shift, "bspline").data
    overshooting = resample(Image(STEP.float(), grid), grid, lambda x: x + shift, "bspline").data
    assert overshooting.min() < -1 and overshooting.max() > 256
    inner = resampled[:, :-1]
    assert torch.equal(inner, overshooting.round().clamp(0, 255).to(torch.uint8)[:, :-1])


def test_type_of_the_file_bounds_the_values() -> None:
    grid = Grid.from_spacing((6, 6), (1.0, 1.0))
    data = STEP.int() * 257  # 0 to 65535
    image = Image(data, grid, stored_type="uint16")
    with pytest.warns(DataWarning, match="image's type uint16, got -1000; used 0"):
        resampled = resample(image, grid, lambda x: x + torch.tensor([0.0, 0.4]), "bspline", outside=-1000.0)
    assert resampled.voxel_type == "uint16" and resampled.data.min() == 0 and resampled.data.max() == 65535


@pytest.mark.parametrize(("outside", "expected"), [(-1000.0, 0), (3.6, 4), (1e9, 255)])
@every_interpolation
def test_outside_value_is_rounded_and_clamped(interpolation, outside, expected) -> None:
    grid = Grid.from_spacing((6, 6), (1.0, 1.0))
    with pytest.warns(DataWarning, match=rf"image: outside: expected a value .* uint8, got .*; used {expected}$"):
        resampled = resample(Image(STEP, grid), grid, lambda x: x + 100, interpolation, outside).data
    assert (resampled == expected).all()


@pytest.mark.parametrize(
    ("dtype", "stored", "outside"),
    [
        (torch.int16, "uint16", 65535),
        (torch.int32, "uint32", 2**32 - 1),
        (torch.int32, "int64", -(2**40)),
        (torch.int16, "uint64", 2**40),
        (torch.float32, "float64", 1e300),
        (torch.float32, "float64", 2**24 + 1),
    ],
)
def test_a_value_outside_of_the_type_in_the_file_widens_the_result(dtype, stored, outside) -> None:
    image = Image(torch.ones(2, 2, dtype=dtype), Grid.from_spacing((2, 2), (1.0, 1.0)), stored_type=stored)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resampled = resample(image, image.grid, lambda x: x + 1, outside=outside)
    assert resampled.voxel_type == stored and resampled.data.tolist() == [[1, outside], [outside, outside]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_value_outside_that_overflows_is_refused(dtype) -> None:
    image = Image(torch.ones(2, 2, dtype=dtype), Grid.from_spacing((2, 2), (1.0, 1.0)), name="m.nii")
    with pytest.raises(UsageError, match=r"m\.nii: outside: expected a number within float\d\d, got 1e\+40"):
        resample(image, image.grid, identity, outside=1e40)


def test_linear_values_are_rounded() -> None:
    image = Image(torch.tensor([[0, 10]] * 2, dtype=torch.int16), Grid.from_spacing((2, 2), (1.0, 1.0)))
    reference = Grid.from_spacing((1, 3), (1.0, 0.08), (0.0, 0.2))
    assert resample(image, reference, identity).data.tolist() == [[2, 3, 4]]


@pytest.mark.parametrize("interpolation", ["nearest", "label"])
def test_labels_beyond_float32_are_exact(grid, interpolation) -> None:
    """Labels of brain atlases reach 10^9; float32 represents whole numbers up to 2^24."""
    labels = 614_454_277 + torch.arange(grid.size, dtype=torch.int32).reshape(grid.shape)
    assert torch.equal(resample(Image(labels, grid), grid, identity, interpolation).data, labels)


def test_label_interpolation_yields_existing_labels(grids) -> None:
    labels = torch.randint(0, 3, grids[3].shape, generator=torch.Generator().manual_seed(0)) * 50
    shifted = resample(Image(labels.byte(), grids[3]), grids[3], lambda x: x + 0.33, "label")
    assert set(shifted.data.unique().tolist()) == {0, 50, 100}


def test_resampling_is_independent_of_slabs(grid, random_image, monkeypatch) -> None:
    image = random_image(grid)
    expected = resample(image, grid, lambda x: x + 0.3).data
    monkeypatch.setattr(Grid, "slabs", lambda self: ((i, i + 1) for i in range(self.shape[-1])))
    assert torch.equal(resample(image, grid, lambda x: x + 0.3).data, expected)


def test_unknown_interpolations_are_refused(grid, random_image) -> None:
    with pytest.raises(UsageError, match="expected one of linear, nearest, bspline, label, got 'cubic'"):
        resample(random_image(grid), grid, identity, "cubic")
