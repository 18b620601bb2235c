import pytest
import torch

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.images import Image
from nephi.metrics import dice

GRID = Grid.from_spacing((3, 4), (1.0, 2.0))
FIXED = [[0, 1, 1, 2], [0, 1, 1, 2], [3, 3, 0, 5]]
MOVING = [[0, 0, 1, 2], [1, 1, 1, 2], [3, 0, 0, 7]]


def labels(rows: list[list[float]], dtype: torch.dtype = torch.uint8, grid: Grid = GRID) -> Image:
    return Image(torch.tensor(rows, dtype=torch.float64).to(dtype), grid, name="labels")


def identity(points: torch.Tensor) -> torch.Tensor:
    return points


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64, torch.float32])
def test_coefficients_counted_by_hand(dtype) -> None:
    """Label 5 is missing in the moving image and 7 in the fixed one: neither has a Dice coefficient."""
    overlap = dice(labels(FIXED, dtype), labels(MOVING, dtype), identity)
    assert overlap == pytest.approx({1: 2 * 3 / (4 + 4), 2: 1.0, 3: 2 * 1 / (2 + 1)})


def test_a_label_displaced_out_of_the_image_has_no_overlap() -> None:
    overlap = dice(labels(FIXED), labels(MOVING), lambda x: x + 100)
    assert overlap == {1: 0.0, 2: 0.0, 3: 0.0}


def test_transform_maps_fixed_to_moving_points() -> None:
    moving = [[0, *row[:-1]] for row in FIXED]  # shifted by one voxel along the second axis
    step = torch.tensor([0.0, 2.0])
    assert dice(labels(FIXED), labels(moving), lambda x: x + step)[1] == 1.0
    assert dice(labels(FIXED), labels(moving), lambda x: x - step)[1] < 0.5


def test_moving_labels_may_lie_on_another_grid() -> None:
    order = torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    moving = Image(labels(MOVING).data.T, Grid((4, 3), order))
    assert dice(labels(FIXED), moving, identity) == dice(labels(FIXED), labels(MOVING), identity)


def test_large_labels_of_atlases() -> None:
    """Labels up to 10^9 stay distinct beyond the whole numbers of float32; memory depends on how many occur."""
    ids = torch.tensor([0, 614_454_277, 614_454_278, 5, 0, 900_000_001, 0, 900_000_000])
    fixed, moving = (i.with_data(ids[i.data.long()].int()) for i in (labels(FIXED), labels(MOVING)))
    small = dice(labels(FIXED), labels(MOVING), identity)
    assert dice(fixed, moving, identity) == {int(ids[label]): value for label, value in small.items()}
    whole = fixed.with_data(torch.full_like(fixed.data, 900_000_001))
    assert dice(whole, whole, lambda x: x + 100) == {900_000_001: 0.0}


def test_labels_close_to_whole_numbers_are_rounded() -> None:
    """Scaled voxels of a file may be 1.9999999."""
    fixed = labels(FIXED, torch.float32)
    assert dice(fixed.with_data(fixed.data - 1e-6), labels(MOVING), identity) == dice(
        labels(FIXED), labels(MOVING), identity
    )


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64])
def test_labels_beyond_float32_are_not_merged(dtype) -> None:
    """Eight labels of Allen's atlas: float32, which has multiples of 64 only at this size, would merge them."""
    ids = torch.tensor([0, *range(614_454_277, 614_454_285)]).to(dtype)
    rows = torch.stack([torch.arange(16) // 2 + 1] * 3)
    image = Image(ids[rows], Grid.from_spacing((3, 16), (1.0, 1.0)))
    step = torch.tensor([0.0, 1.0])
    by_hand = {614_454_277 + label: 0.5 if label else 2 / 3 for label in range(8)}
    assert dice(image, image, identity) == dict.fromkeys(by_hand, 1.0)
    assert dice(image, image, lambda x: x + step) == by_hand


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1.0, r"found negative numbers at 1 voxel\(s\), the first \(-1\) at \(1, 2\); give"),
        (float("nan"), r"found NaN at 1 voxel\(s\), the first \(nan\) at \(1, 2\); write 0"),
        (float("-inf"), "found infinite or too large numbers"),
        (1e30, "found infinite or too large numbers"),
        (0.37, r"found fractions at 1 voxel\(s\), the first \(0.37\) at \(1, 2\); are these intensities"),
    ],
)
def test_voxels_that_are_no_labels_are_refused(value: float, message: str) -> None:
    rows = [list(row) for row in MOVING]
    rows[1][2] = value
    wrong = Image(labels(rows, torch.float32).data, GRID, name="m.nii")
    for pair in ((wrong, labels(FIXED)), (labels(FIXED), wrong)):
        with pytest.raises(DataError, match=rf"m\.nii: expected whole numbers of 0 or more as labels, {message}"):
            dice(*pair, identity)


def test_negative_whole_numbers_are_refused() -> None:
    with pytest.raises(DataError, match=r"labels: .*negative numbers at 12 voxel\(s\)"):
        dice(labels(FIXED, torch.int16), labels([[-1] * 4] * 3, torch.int16), identity)


def test_images_without_a_common_label_are_refused() -> None:
    with pytest.raises(DataError, match="share a label"):
        dice(labels([[0, 0, 1, 1]] * 3), labels([[0, 2, 2, 2]] * 3), identity)
