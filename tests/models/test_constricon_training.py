"""A short training of ConstrICON on silhouettes: overlap rises, maps stay regular and each other's inverses."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.geometry import Grid, determinant, interpolate_batch
from nephi.models import AffineNetworkSettings, ConstrICON, ConstrICONSettings, UNetSettings
from nephi.phantoms import silhouettes

GRID = Grid.from_spacing((32, 32), (1.0, 1.0))


def warped(images: Tensor, points: Tensor) -> Tensor:
    return interpolate_batch(images, GRID, points).reshape(images.shape)


def scores(model: ConstrICON) -> tuple[float, float, float]:
    """Mean Dice, inverse consistency error in voxels, and fraction of folds, of 32 pairs."""
    generator = torch.Generator().manual_seed(7)
    images, labels = silhouettes(64, generator, 32)
    prediction = model(images[:32, None], images[32:, None])
    points = GRID.voxel_centres().reshape(1, -1, 2).expand(32, -1, -1)
    moved, jacobians = prediction.forward.value_and_jacobian(points)
    fixed, moving = labels[:32, None], warped(labels[32:, None].float(), moved) > 0.5
    dice = 2 * (fixed & moving).sum(dim=(1, 2, 3)) / (fixed.sum(dim=(1, 2, 3)) + moving.sum(dim=(1, 2, 3)))
    assert prediction.inverse is not None
    error = (prediction.inverse(moved) - points).norm(dim=-1).mean()
    return float(dice.mean()), float(error.detach()), float((determinant(jacobians) <= 0).double().mean())


def test_a_short_training_on_silhouettes() -> None:
    generator = torch.Generator().manual_seed(0)
    networks = UNetSettings((8, 16, 16), finest=1), AffineNetworkSettings((8, 16, 16))
    model = ConstrICON(ConstrICONSettings(("affine", "flow", "flow"), (2, 2, 1), *networks), GRID, generator)
    before, *_ = scores(model)
    points = GRID.voxel_centres().reshape(1, -1, 2).expand(8, -1, -1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(40):
        images = silhouettes(16, generator, 32)[0].unsqueeze(1)
        fixed, moving = images[:8], images[8:]
        prediction = model(fixed, moving)
        assert prediction.inverse is not None
        there, back = warped(moving, prediction.forward(points)), warped(fixed, prediction.inverse(points))
        similarity = 0.5 * ((there - fixed).square().mean() + (back - moving).square().mean())
        optimizer.zero_grad()
        (similarity + 0.01 * prediction.penalties["velocity"]).backward()
        optimizer.step()
    after, error, folds = scores(model)
    assert before < 0.6 and after > 0.8
    assert error < 1e-4 and folds < 1e-3
