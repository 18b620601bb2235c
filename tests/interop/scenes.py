"""Pairs of images on grids of every kind, and a deformation known in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import nephi
from nephi.transforms import Transform


class Wave(Transform):
    """`x + a sin(B x)`: smooth, some millimetres long, different along every axis."""

    def __init__(self, dimension: int, amplitude: float = 2.5) -> None:
        self.amplitude = amplitude
        waves = [[0.11, 0.05, -0.03], [-0.04, 0.09, 0.05], [0.06, -0.05, 0.08]]
        self.waves = torch.tensor(waves, dtype=torch.float64)[:dimension, :dimension]

    @property
    def dimension(self) -> int:
        return len(self.waves)

    def __call__(self, points: Tensor) -> Tensor:
        return points + self.amplitude * torch.sin(points @ self.waves.T.to(points))

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        waves = self.waves.to(points)
        slopes = torch.cos(points @ waves.T).unsqueeze(-1) * waves
        return self(points), torch.eye(self.dimension).to(points) + self.amplitude * slopes


def _turned(dimension: int, angle: float) -> Tensor:
    matrix = torch.eye(dimension, dtype=torch.float64)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64)
    matrix[:2, :2] = turn
    if dimension == 3:
        tilt = torch.eye(3, dtype=torch.float64)
        tilt[1:, 1:] = turn
        matrix = tilt @ matrix
    return matrix


def make_grid(kind: str) -> nephi.Grid:
    """Grids around the origin: axes along RAS or LPS, mirrored, oblique, or flat; none of equal lengths or spacings."""
    if kind == "2-D":
        shape, steps = (26, 22), _turned(2, 0.4) @ torch.diag(torch.tensor([1.6, -1.1], dtype=torch.float64))
    else:
        shape = (22, 20, 18)
        signs = {"RAS": [1, 1, 1], "LPS": [-1, -1, 1], "left-handed": [-1, 1, 1], "oblique": [1, -1, 1]}[kind]
        steps = torch.diag(torch.tensor(signs, dtype=torch.float64) * torch.tensor([1.5, 1.2, 2.2]))
        steps = _turned(3, 0.35) @ steps if kind == "oblique" else steps
    affine = torch.eye(len(shape) + 1, dtype=torch.float64)
    affine[:-1, :-1] = steps
    affine[:-1, -1] = -steps @ (torch.tensor(shape, dtype=torch.float64) - 1) / 2 + 1.7
    return nephi.Grid(shape, affine)


@dataclass(frozen=True, eq=False)
class Scene:
    """A moving image on disk, the grid it is warped onto (that of an image on disk, too), and the deformation."""

    grid: nephi.Grid
    moving: nephi.Image
    deformation: Transform
    folder: Path

    @property
    def dimension(self) -> int:
        return self.grid.dimension

    @property
    def fixed_file(self) -> Path:
        return self.folder / "fixed.nii.gz"

    @property
    def moving_file(self) -> Path:
        return self.folder / "moving.nii.gz"

    def export(self, name: str, format: str) -> Path:
        nephi.export_transform(self.deformation, self.grid, self.folder / name, format)
        return self.folder / name

    def require_equal(self, warped: Any, transform: Transform | None = None) -> None:
        """Compare voxels `(X, Y[, Z])` of another tool with nephi's where they are sampled well inside."""
        chosen = transform or self.deformation
        ours = nephi.resample(self.moving, self.grid, chosen).data.numpy()
        source = self.moving.grid.world_to_voxel_points(chosen(self.grid.voxel_centres()))
        far = ((source > 1) & (source < torch.tensor(self.moving.grid.shape) - 2)).all(dim=-1).numpy()
        span = float(self.moving.data.max() - self.moving.data.min())
        assert far.mean() > 0.2 and ours[far].std() > 0.1 * span  # the image is not constant
        assert np.abs(ours - np.asarray(warped).reshape(ours.shape))[far].max() < 1e-3 * span

    def voxel_centres(self) -> Tensor:
        return self.grid.voxel_centres().double().reshape(-1, self.dimension)[::37]

    def points_between(self) -> Tensor:
        fractions = torch.rand(60, self.dimension, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        return self.grid.voxel_to_world_points(1 + fractions * (torch.tensor(self.grid.shape) - 3))


def to_lps(points: Tensor) -> Tensor:
    """Convert points or vectors between RAS and LPS."""
    return points * torch.tensor([-1.0, -1.0, 1.0], dtype=points.dtype)[: points.shape[-1]]


def make_scene(kind: str, folder: Path) -> Scene:
    grid = make_grid(kind)
    points = grid.voxel_centres()
    pattern = torch.sin(points[..., 0] * 0.21 + 0.3) + torch.cos(points[..., 1] * 0.17) + 0.5 * points[..., -1] / 20
    moving = nephi.Image((100 * pattern).float(), grid)
    nephi.write_image(moving, folder / "moving.nii.gz")
    nephi.write_image(moving.with_data(moving.data.flip(0)), folder / "fixed.nii.gz")
    return Scene(grid, moving, Wave(grid.dimension), folder)
