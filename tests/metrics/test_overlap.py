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


def stay(points: torch.Tensor) -> torch.Tensor:
    return points


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64, torch.float32])
def test_counts_by_hand(dtype) -> None:
    """Label 5 is missing in the moving image and 7 in the fixed one: neither has a Dice coefficient."""
    found = dice(labels(FIXED, dtype), labels(MOVING, dtype), stay)
    assert found == pytest.approx({1: 2 * 3 / (4 + 4), 2: 1.0, 3: 2 * 1 / (2 + 1)})


def test_label_that_the_transform_takes_away_counts_as_zero() -> None:
    far = dice(labels(FIXED), labels(MOVING), lambda x: x + 100)
    assert far == {1: 0.0, 2: 0.0, 3: 0.0}


def test_transform_goes_from_fixed_to_moving() -> None:
    moving = [[0, *row[:-1]] for row in FIXED]  # everything one voxel further along the second axis
    step = torch.tensor([0.0, 2.0])
    assert dice(labels(FIXED), labels(moving), lambda x: x + step)[1] == 1.0
    assert dice(labels(FIXED), labels(moving), lambda x: x - step)[1] < 0.5


def test_moving_labels_may_lie_on_another_grid() -> None:
    order = torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    moving = Image(labels(MOVING).data.T, Grid((4, 3), order))
    assert dice(labels(FIXED), moving, stay) == dice(labels(FIXED), labels(MOVING), stay)


def test_ids_of_atlases() -> None:
    """Up to 10^9 and told apart beyond the whole numbers of float32, with memory for the labels that occur."""
    ids = torch.tensor([0, 614_454_277, 614_454_278, 5, 0, 900_000_001, 0, 900_000_000])
    fixed, moving = (i.with_data(ids[i.data.long()].int()) for i in (labels(FIXED), labels(MOVING)))
    small = dice(labels(FIXED), labels(MOVING), stay)
    assert dice(fixed, moving, stay) == {int(ids[label]): value for label, value in small.items()}
    whole = fixed.with_data(torch.full_like(fixed.data, 900_000_001))
    assert dice(whole, whole, lambda x: x + 100) == {900_000_001: 0.0}


def test_real_labels_are_rounded() -> None:
    """Scaled voxels of a file come out as 1.9999999 sometimes."""
    near = labels(FIXED, torch.float32)
    assert dice(near.with_data(near.data - 1e-6), labels(MOVING), stay) == dice(labels(FIXED), labels(MOVING), stay)


def test_negative_labels_are_refused() -> None:
    with pytest.raises(DataError, match="negative"):
        dice(labels(FIXED, torch.int16), labels([[-1] * 4] * 3, torch.int16), stay)


def test_nothing_in_common_is_refused() -> None:
    with pytest.raises(DataError, match="share a label"):
        dice(labels([[0, 0, 1, 1]] * 3), labels([[0, 2, 2, 2]] * 3), stay)
