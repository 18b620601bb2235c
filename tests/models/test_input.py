"""What a network sees: values at the right places of the world, smoothed where voxels get larger."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.images import Image
from nephi.models import FrameSettings, bring, frame_grid
from nephi.phantoms import lung_phantom

FRAMES = {2: FrameSettings((20, 14), (2.0, 3.0)), 3: FrameSettings((20, 14, 10), (2.0, 3.0, 4.0))}


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
    frame = replace(FRAMES[dimension], window=(-100.0, 100.0))
    seen = bring(image, None, frame)
    torch.testing.assert_close(seen.centre, grid.centre_world())
    expected = (wave(frame_grid(frame).voxel_centres() + seen.centre) + 1) / 2
    assert seen.values.shape == (1, *frame.shape) and seen.values.dtype == torch.float32
    assert float((seen.values[0] - expected).abs().max()) < 0.02


def test_the_frame_is_centred_on_the_origin(dimension: int) -> None:
    torch.testing.assert_close(frame_grid(FRAMES[dimension]).centre_world(), torch.zeros(dimension).double())


def test_what_no_voxel_can_show_is_smoothed_away(dimension: int) -> None:
    """Stripes of one voxel would come out as stripes of any width."""
    grid = Grid.from_spacing((90, 80, 70)[:dimension], [0.5] * dimension)
    stripes = torch.arange(90).reshape(-1, *(1,) * (dimension - 1)) % 2
    values = bring(Image(stripes.expand(grid.shape).to(torch.uint8), grid), None, FRAMES[dimension]).values
    inside = values[(0, *(slice(n // 2 - 2, n // 2 + 2) for n in FRAMES[dimension].shape))]
    assert float((inside - 0.5).abs().max()) < 0.02


def test_an_image_on_the_frame_is_seen_as_it_is(dimension: int) -> None:
    frame = replace(FRAMES[dimension], window=(0.0, 1.0))
    image = Image(torch.rand(frame.shape, generator=torch.Generator().manual_seed(0)), frame_grid(frame))
    torch.testing.assert_close(bring(image, None, frame).values[0], image.data, atol=1e-5, rtol=0)


def test_beyond_the_border_there_is_nothing(dimension: int) -> None:
    grid = Grid.from_spacing((4,) * dimension, [2.0] * dimension)
    values = bring(Image(torch.rand(grid.shape) + 1, grid), None, replace(FRAMES[dimension], window=(0.0, 1.0))).values
    assert float(values[(0,) * (dimension + 1)]) == 0
    assert float(values.max()) == 1


def test_the_mask_is_centred_and_cut_out(dimension: int) -> None:
    grid = oblique(dimension, 4.0)
    image = Image(torch.rand(grid.shape) + 1, grid)
    inside = torch.zeros(grid.shape, dtype=torch.uint8)
    inside[(slice(8, 14),) * dimension] = 1
    doubled = grid.affine @ torch.diag(torch.tensor([2.0] * dimension + [1.0], dtype=torch.float64))
    coarse = Grid(tuple(n // 2 for n in grid.shape), doubled)
    own = Image(inside[(slice(None, None, 2),) * dimension], coarse, name="mask")
    frame = replace(FRAMES[dimension], mask="given", outside_mask="dark", centre="mask", window=(0.0, 1.0))
    seen = bring(image, own, frame)
    torch.testing.assert_close(seen.centre, grid.voxel_to_world_points(torch.tensor([10.0] * dimension).double()))
    from_centre = frame_grid(frame).voxel_centres().norm(dim=-1)
    assert bool((seen.values[0][from_centre < 9] == 1).all())
    assert bool((seen.values[0][from_centre > 21.5] == 0).all())
    assert seen.mask is not None and torch.equal(seen.mask > 0, seen.values > 0)
    bright = bring(image, own, replace(frame, outside_mask="bright"))
    assert bool((bright.values[0][from_centre > 21.5] == 1).all())


def test_masks_are_found_or_asked_for() -> None:
    frame = replace(FRAMES[3], mask="lungs", centre="mask")
    pair = lung_phantom(seed=1, shape=(44, 34, 36))
    found, given = (bring(pair.fixed, mask, frame).centre for mask in (None, pair.fixed_mask))
    assert 0 < float((found - given).norm()) < 15
    with pytest.raises(DataError, match=r'expected a mask with it, for frame\.mask = "given"'):
        bring(pair.fixed, None, replace(frame, mask="given"))
    frame = replace(frame, mask="foreground")
    assert float((bring(pair.fixed, None, frame).centre - pair.fixed.grid.centre_world()).norm()) < 30


def test_a_window_of_the_images_own() -> None:
    grid = Grid.from_spacing((30, 30), [2.0, 2.0])
    data = torch.rand(grid.shape, generator=torch.Generator().manual_seed(0))
    values = [bring(Image(scale * data - 7, grid), None, FRAMES[2]).values for scale in (1.0, 1000.0)]
    torch.testing.assert_close(*values, atol=1e-4, rtol=0)
    assert 0.9 < float(values[0].max()) <= 1


def test_what_cannot_be_seen_is_refused(dimension: int) -> None:
    grid = Grid.from_spacing((9,) * dimension, [1.0] * dimension)
    with pytest.raises(DataError, match=f"odd: expected a {5 - dimension}-D image, as frame.shape says"):
        bring(Image(torch.rand(grid.shape), grid, name="odd"), None, FRAMES[5 - dimension])
    with pytest.raises(DataError, match="odd: expected finite voxels"):
        bring(Image(torch.full(grid.shape, torch.nan), grid, name="odd"), None, FRAMES[dimension])
    with pytest.raises(DataError, match="odd: expected an image with contrast"):
        bring(Image(torch.ones(grid.shape), grid, name="odd"), None, FRAMES[dimension])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (8,)}, r"frame.shape: expected 2 or 3 numbers of voxels of 2 or more, got \(8,\)"),
        ({"spacing": (1.0,)}, r"frame.spacing: expected 2 lengths in mm above 0, got \(1.0,\)"),
        ({"spacing": (1.0, 0.0)}, "frame.spacing: expected 2 lengths"),
        ({"window": (2.0, 1.0)}, "frame.window: expected two numbers, low below high"),
        ({"percentiles": (50.0, 40.0)}, "frame.percentiles: expected"),
        ({"mask": "brain"}, "frame.mask: expected one of none, given, lungs, foreground, got 'brain'"),
        ({"centre": "middle"}, "frame.centre: expected one of"),
        (
            {"outside_mask": "dark"},
            'frame.mask: expected given, lungs or foreground for outside_mask = "dark", got none',
        ),
        ({"centre": "mask"}, 'frame.mask: expected given, lungs or foreground for centre = "mask", got none'),
    ],
)
def test_settings_that_cannot_be(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(FRAMES[2], **change)
