"""Both directions from a network of one direction."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.models import DisplacementUNet, DisplacementUNetSettings, Swapped


def random_network(grid: Grid) -> DisplacementUNet:
    generator = torch.Generator().manual_seed(2)
    network = DisplacementUNet(DisplacementUNetSettings((4, 8, 8)), grid, generator)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return network


def test_exchanged_images_exchange_the_maps(grid: Grid, images: tuple[Tensor, Tensor]) -> None:
    """Swapped(network)(B, A) = (inverse, forward) of (A, B), and forward is the network's own prediction."""
    network = random_network(grid)
    swapped, (fixed, moving) = Swapped(network), images
    points = grid.voxel_centres().float().reshape(1, -1, grid.dimension)[:, ::7].expand(len(fixed), -1, -1)
    one, other = swapped(fixed, moving), swapped(moving, fixed)
    assert one.inverse is not None and other.inverse is not None
    torch.testing.assert_close(one.forward(points), other.inverse(points), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(one.inverse(points), other.forward(points), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(one.forward(points), network(fixed, moving).forward(points), rtol=1e-5, atol=1e-4)
    assert not torch.allclose(one.forward(points), one.inverse(points), atol=0.1)
