"""Pairs of fields composed with affine maps: phi in the order of the list, the inverse in reverse order."""

import pytest
import torch

from nephi.fields import ComposedFieldPair, FieldPair
from nephi.transforms import AffineTransform


@pytest.fixture
def affine(grid) -> AffineTransform:
    d = grid.dimension
    matrix = torch.eye(d + 1, dtype=torch.float64)
    matrix[:-1] += 0.05 * torch.randn(d, d + 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return AffineTransform(matrix)


@pytest.fixture
def pairs(grid, small_settings, trained_pair) -> list[FieldPair]:
    settings = small_settings(encoding="dense", global_codes=1)
    return [trained_pair(settings, grid, seed) for seed in range(2)]


def test_members_are_applied_in_order(grid, affine, pairs, points_in) -> None:
    one, two = pairs
    composed, points = ComposedFieldPair([affine, one, two]), points_in(grid)
    torch.testing.assert_close(
        composed.forward_field(points), two.forward_field(one.forward_field(affine(points))), rtol=0, atol=1e-9
    )
    expected = affine.inverse()(one.inverse_field(two.inverse_field(points)))
    torch.testing.assert_close(composed.inverse_field(points), expected, rtol=0, atol=1e-9)
    assert len(composed.forward_field.local_features) == 2 and composed.forward_field.device.type == "cpu"


def test_only_the_parameters_of_the_fields_are_fitted(affine, pairs) -> None:
    composed = ComposedFieldPair([pairs[0], affine, pairs[1]])
    expected = sum(parameter.numel() for pair in pairs for parameter in pair.parameters())
    assert sum(parameter.numel() for parameter in composed.parameters()) == expected
    composed.round_tables()
    table = pairs[1].forward_field.encoding.table
    assert torch.equal(table, table.half().float())


def test_the_penalty_is_the_mean_over_the_pairs(affine, pairs) -> None:
    single = [ComposedFieldPair([pair]).maps().penalties["codes"] for pair in pairs]
    composed = ComposedFieldPair([pairs[0], affine, pairs[1]])
    torch.testing.assert_close(composed.maps().penalties["codes"], torch.stack(single).mean())


def test_no_inverse_if_a_pair_has_none(affine, pairs) -> None:
    composed = ComposedFieldPair([pairs[0], pairs[1].forward_only(), affine])
    assert composed.inverse_field is None and composed.maps().inverse is None


def test_each_direction_of_a_pair_alone(grid, pairs, points_in) -> None:
    pair, points = pairs[0], points_in(grid)
    assert torch.equal(pair.forward_only().forward_field(points), pair.forward_field(points))
    assert torch.equal(pair.inverse_only().forward_field(points), pair.inverse_field(points))
    assert not pair.inverse_only().settings.inverse and pair.inverse_only().inverse_field is None
    with pytest.raises(ValueError, match="expected a pair of fields with an inverse"):
        pair.forward_only().inverse_only()
