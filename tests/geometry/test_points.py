import time

import pytest
import torch

from nephi.errors import DataError, DataWarning
from nephi.geometry import PointPairs, Points


def test_coordinates_are_float64_and_ids_count_from_zero() -> None:
    points = Points(torch.tensor([[1, 2], [3, 4]]))
    assert points.coordinates.dtype == torch.float64
    assert points.ids == ("0", "1") and points.dimension == 2 and len(points) == 2


def test_mapped_keeps_ids_and_takes_no_gradient() -> None:
    shift = torch.ones(3, dtype=torch.float64, requires_grad=True)
    moved = Points(torch.zeros(2, 3), ("apex", "base")).mapped(lambda x: x + shift)
    assert moved.ids == ("apex", "base") and moved.coordinates.tolist() == [[1.0] * 3] * 2
    assert not moved.coordinates.requires_grad


@pytest.mark.parametrize(
    ("coordinates", "ids", "message"),
    [
        (torch.zeros(3, 4), (), r"\(3, 4\)"),
        (torch.zeros(3), (), r"\(3,\)"),
        (torch.tensor([[0.0, float("nan")]]), (), "NaN"),
        (torch.tensor([[0.0, float("inf")]]), (), "NaN or infinity"),
        (torch.zeros(2, 3), ("a",), "expected one id for each of 2 points, got 1"),
    ],
)
def test_invalid_points_are_refused(coordinates, ids, message) -> None:
    with pytest.raises(DataError, match=message):
        Points(coordinates, ids)


@pytest.mark.parametrize("moving", [torch.zeros(3, 3), torch.zeros(2, 2)])
def test_unequal_pairs_are_refused(moving) -> None:
    with pytest.raises(DataError, match="as many fixed as moving"):
        PointPairs.from_coordinates(torch.zeros(2, 3), moving)


def test_pairs_share_ids() -> None:
    pairs = PointPairs.from_coordinates(torch.zeros(2, 3), torch.ones(2, 3), ["a", "b"])
    assert pairs.fixed.ids == pairs.moving.ids == ("a", "b") and len(pairs) == 2


ROWS = torch.arange(12.0, dtype=torch.float64).reshape(4, 3)
NAMES = ("apex", "base", "hilum", "dome")


def test_lists_with_ids_are_paired_by_id() -> None:
    order = [2, 0, 3, 1]
    shuffled = Points(ROWS[order] + 1, [NAMES[i] for i in order])
    with pytest.warns(DataWarning, match="landmarks: the ids of the moving points are in another order"):
        pairs = PointPairs(Points(ROWS, NAMES), shuffled)
    assert pairs.fixed.ids == pairs.moving.ids == NAMES
    assert torch.equal(pairs.moving.coordinates, ROWS + 1)


def test_the_same_order_gives_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    pairs = PointPairs(Points(ROWS, NAMES), Points(ROWS + 1, NAMES))
    assert torch.equal(pairs.moving.coordinates, ROWS + 1) and not recwarn.list


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_points_without_ids_are_paired_by_order(side: str, recwarn: pytest.WarningsRecorder) -> None:
    """Even if the ids of the other list are numbers from 0, in another order."""
    ids = ("2", "0", "3", "1")
    given = {name: Points(ROWS, ids if name == side else ()) for name in ("fixed", "moving")}
    pairs = PointPairs(given["fixed"], given["moving"])
    assert torch.equal(pairs.fixed.coordinates, pairs.moving.coordinates) and not recwarn.list
    assert pairs.fixed.ids == pairs.moving.ids == ids
    moved = given["fixed"].mapped(lambda x: x + 1)
    assert moved.has_ids == given["fixed"].has_ids


@pytest.mark.parametrize(
    ("fixed", "moving", "message"),
    [
        (NAMES, NAMES[:3], "missing: dome among the moving points"),
        (NAMES[:3], NAMES, "missing: dome among the fixed points"),
        (NAMES, (*NAMES[:3], "Dome"), "missing: dome among the moving points; Dome among the fixed points"),
        (NAMES, ("apex", "base", "apex", "dome"), "each of the moving points, found several of id 'apex'"),
        (("a", "a", "b", "c"), ("a", "a", "b", "c"), "each of the fixed points, found several of id 'a'"),
    ],
)
def test_ids_that_do_not_match_are_refused(fixed: tuple[str, ...], moving: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        PointPairs(Points(ROWS[: len(fixed)], fixed), Points(ROWS[: len(moving)], moving))


def test_lists_without_a_common_id() -> None:
    """Default labels of 3-D Slicer start with the name of the list."""
    with pytest.warns(DataWarning, match="no id of the fixed points .*F-0.* is among the moving .*M-0"):
        pairs = PointPairs(*(Points(ROWS, [f"{side}-{i}" for i in range(4)]) for side in "FM"))
    assert pairs.moving.ids == ("F-0", "F-1", "F-2", "F-3") and torch.equal(pairs.moving.coordinates, ROWS)


def test_rows_of_one_table_are_pairs_for_any_ids() -> None:
    pairs = PointPairs.from_coordinates(ROWS, ROWS + 1, ["lesion"] * 4)
    assert pairs.moving.ids == ("lesion",) * 4 and torch.equal(pairs.moving.coordinates, ROWS + 1)


def test_many_ids_take_linear_time() -> None:
    names = tuple(map(str, range(30_000)))
    points = torch.zeros(len(names), 3, dtype=torch.float64)
    start = time.process_time()
    with pytest.warns(DataWarning, match="another order"):
        PointPairs(Points(points, names), Points(points, names[::-1]))
    assert time.process_time() - start < 5
