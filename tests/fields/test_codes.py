import pytest
import torch

from nephi.fields.grids import LatentCodes


def codes(dimension: int, global_channels: int, local_channels: int) -> LatentCodes:
    shape = (3, 4, 5)[:dimension]
    return LatentCodes(global_channels, local_channels, shape, 1.0, torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize(("global_channels", "local"), [(2, 3), (2, 0), (0, 3)])
def test_global_then_local(dimension, unit_points, global_channels, local) -> None:
    z, unit = codes(dimension, global_channels, local), unit_points(dimension)
    jet = z.jet(unit, dimension)
    assert jet.shape == (1 + dimension, len(unit), z.channels) and z.channels == global_channels + local
    assert (jet[0, :, :global_channels] == z.global_code).all() and (jet[1:, :, :global_channels] == 0).all()
    if local:
        assert torch.equal(jet[..., global_channels:], z.local.jet(unit, dimension))
    torch.testing.assert_close(z.jet(unit, 0), jet[:1])
