"""The kernel that surveys a mask against its twin, sums over slices."""

import pytest
import torch

from nephi import kernels
from nephi.geometry import Grid
from nephi.images import Image, image
from tests.kernels.test_smooth import TYPES, image_of


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("shape", "order"),
    [((19, 23, 9), (0, 1, 2)), ((19, 23, 9), (2, 1, 0)), ((7, 8, 300), (1, 2, 0)), ((21, 40), (1, 0))],
)
def test_a_survey_agrees_with_the_twin(shape: tuple[int, ...], order: tuple[int, ...], dtype: torch.dtype) -> None:
    data = image_of(shape, dtype, order).data
    data = torch.where(data < 100, 0 if dtype == torch.uint8 else -1, data)
    assert kernels.can_read_through(data)
    for found, expected in zip(kernels.survey(data), image._survey(data), strict=True):
        assert torch.equal(found, expected)


def test_foreground_is_the_box_the_number_and_the_centre(monkeypatch: pytest.MonkeyPatch) -> None:
    data = torch.zeros(9, 8, 7, dtype=torch.uint8)
    data[2:5, 1:3, 6] = 3
    data[4, 7, 0] = 1
    for serves in (True, False):
        monkeypatch.setattr(image, "can_read_through", lambda _, serves=serves: serves)
        found = Image(data, Grid(data.shape, torch.eye(4, dtype=torch.float64))).foreground
        assert found[:3] == ((2, 1, 0), (5, 8, 7), 7)
        torch.testing.assert_close(found.centre, (data > 0).nonzero().double().mean(dim=0))


def test_a_new_header_keeps_the_survey(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = Image(torch.ones(3, 4, dtype=torch.uint8), Grid((3, 4), torch.eye(3, dtype=torch.float64)))
    found = mask.foreground
    matrix = torch.diag(torch.tensor([2.0, 3.0, 1.0], dtype=torch.float64))
    assert mask.with_grid(mask.grid.transformed(matrix)).foreground is found
    assert mask.with_data(mask.data[:]).foreground is not found
