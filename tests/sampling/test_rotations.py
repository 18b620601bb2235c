"""Random rotations: orthogonal, of the angles that are asked for, about uniform axes."""

from __future__ import annotations

import torch

from nephi.sampling import random_rotation


def test_angles_and_axes(dimension: int) -> None:
    drawn = [random_rotation(dimension, 90.0, torch.Generator().manual_seed(k)) for k in range(400)]
    rotations, identity = torch.stack(drawn), torch.eye(dimension, dtype=torch.float64)
    torch.testing.assert_close(rotations @ rotations.mT, identity.expand(400, -1, -1))
    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(400, dtype=torch.float64))
    trace = rotations.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    angles = (((trace - 1) if dimension == 3 else trace) / 2).clamp(-1, 1).acos().rad2deg()
    assert 85 < float(angles.max()) <= 90 + 1e-9 and abs(float(angles.mean()) - 45) < 4  # uniform
    skew = (rotations - rotations.mT)[:, *torch.triu_indices(dimension, dimension, 1)]
    axes = skew / skew.norm(dim=1, keepdim=True)
    assert float(axes.mean(dim=0).abs().max()) < 0.12  # no direction is preferred
    spread = (axes.mT @ axes / 400 - torch.eye(axes.shape[1], dtype=torch.float64) / axes.shape[1]).abs()
    assert float(spread.max()) < 0.08


def test_no_rotation_of_0_degrees(dimension: int) -> None:
    identity = torch.eye(dimension, dtype=torch.float64)
    assert torch.equal(random_rotation(dimension, 0.0, torch.Generator().manual_seed(0)), identity)
