"""A short training of KeyMorph on turned images in two contrasts: it aligns rotations of any angle."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.models import KeyMorphSettings, build_model
from nephi.phantoms import Bodies

SIZE, BATCH, STEPS = 42.0, 24, 240


def turns(angles: Tensor) -> Tensor:
    """Rotations `(B, 2, 2)` by angles in degrees."""
    cosines, sines = torch.deg2rad(angles).cos(), torch.deg2rad(angles).sin()
    return torch.stack([cosines, -sines, sines, cosines], dim=-1).reshape(-1, 2, 2)


def draw(angles: Tensor, generator: torch.Generator, grid: Grid, bodies: Bodies) -> Tensor:
    """Images `(B, 1, *shape)` of bodies turned by angles, each in one of two contrasts."""
    contrasts = torch.randint(2, (len(angles),), generator=generator)
    points = grid.voxel_centres().reshape(1, -1, 2) @ turns(angles)
    return bodies.intensities(points, contrasts).reshape(-1, 1, *grid.shape)


def test_turns_of_any_angle_are_registered_after_a_short_training() -> None:
    """Keypoints are trained to follow points of the bodies (KeyMorph's pre-training); rigid maps give the angle."""
    generator = torch.Generator().manual_seed(3)
    grid = Grid.from_spacing((32, 32), (4.0, 4.0), (-62.0, -62.0))
    model = build_model(KeyMorphSettings(8, (8, 16, 16, 32), align="rigid"), grid, generator)
    anatomy = SIZE * 0.5 * (2 * torch.rand(8, 2, generator=generator) - 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        angles = 360 * torch.rand(BATCH, generator=generator)
        keypoints = model.keypoints(draw(angles, generator, grid, Bodies.random(BATCH, 2, SIZE, generator)))
        assert keypoints is not None
        loss = (anatomy @ turns(angles).transpose(-1, -2) - keypoints.points).norm(dim=-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    bodies, start = Bodies.random(36, 2, SIZE, generator), 360 * torch.rand(36, generator=generator)
    relative = torch.tensor([0.0, 90.0, 180.0]).repeat(12)
    with torch.no_grad():
        fixed = draw(start, generator, grid, bodies)
        moving = draw(start + relative, generator, grid, bodies)
        corner = torch.tensor([[[0.0, 0.0], [10.0, 0.0]]]).expand(36, -1, -1)
        origin, end = model(fixed, moving).forward(corner).unbind(dim=1)
    found = torch.rad2deg(torch.atan2(*(end - origin).flip(-1).unbind(dim=-1)))
    errors = ((found - relative + 180) % 360 - 180).abs()
    for angle in (0.0, 90.0, 180.0):
        assert float(errors[relative == angle].mean()) < 20.0
