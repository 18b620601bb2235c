"""Fields with interpolated latent values."""

import pytest
import torch

from nephi.errors import UsageError
from nephi.fields import blend_fields, latent_parameters


@pytest.fixture
def two(small_settings, trained_pair, grids):
    """Fields of one model, with latent values of two pairs."""
    settings = small_settings(global_codes=2, local_codes=1)
    one, other = (trained_pair(settings, grids[3]) for _ in range(2))
    with torch.no_grad():
        for parameter in latent_parameters(other):
            parameter += torch.rand(parameter.shape, generator=torch.Generator().manual_seed(9))
    return one, other


def test_latent_values_are_interpolated(two, grids, points_in) -> None:
    one, other = two
    points = points_in(grids[3])
    before = one.forward_field(points).clone(), other.forward_field(points).clone()
    for fraction, expected in ((0.0, one), (1.0, other)):
        found = blend_fields(one, other, fraction)
        assert torch.equal(found.forward_field(points), expected.forward_field(points))
        assert torch.equal(found.inverse_field(points), expected.inverse_field(points))
    half = blend_fields(one, other, 0.5)
    for own, a, b in zip(*(latent_parameters(fields) for fields in (half, one, other)), strict=True):
        torch.testing.assert_close(own, (a + b) / 2)
    assert torch.equal(before[0], one.forward_field(points)) and torch.equal(before[1], other.forward_field(points))


def test_fields_of_other_models_are_refused(two, small_settings, trained_pair, grids) -> None:
    one, other = two
    with pytest.raises(UsageError, match=r"fraction: expected 0 to 1, got 1\.5"):
        blend_fields(one, other, 1.5)
    with pytest.raises(UsageError, match="of different shapes"):
        blend_fields(one, trained_pair(small_settings(), grids[3]), 0.5)
    with torch.no_grad():
        other.forward_field.decoder.last.weight += 1
    with pytest.raises(UsageError, match=r"different networks \(in forward_field\.decoder\.last\.weight\)"):
        blend_fields(one, other, 0.5)
