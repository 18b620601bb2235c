"""The affine map that is closest to a deformation."""

from __future__ import annotations

import torch

from nephi.geometry import Grid, PointMap
from nephi.transforms.affine import AffineTransform

VOXELS = 16  # along each axis, at most about twice as many
FLAT = 1e-6  # determinant


def closest_affine(transform: PointMap, grid: Grid) -> AffineTransform:
    """Return the affine map with the least squared distance from a transform, over some thousand voxels of `grid`.

    Points are world mm. The identity where the closest map is singular, of a deformation that flattens space.
    """
    d = grid.dimension
    axes = [torch.arange(0, n, max(1, n // VOXELS), dtype=torch.float64) for n in grid.shape]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, d)
    points = grid.voxel_to_world_points(index)
    centre = points.mean(dim=0)
    ones = torch.cat([points - centre, torch.ones(len(points), 1, dtype=torch.float64)], dim=1)
    # The displacement, so that the shorter axis of a flat grid, which determines nothing, keeps the identity.
    displacement = transform(points).double() - points
    solution = torch.linalg.lstsq(ones, displacement, driver="gelsd").solution
    matrix = torch.eye(d + 1, dtype=torch.float64)
    matrix[:-1, :-1] += solution[:-1].T
    matrix[:-1, -1] = solution[-1] - (matrix[:-1, :-1] @ centre - centre)
    # `AffineTransform` allows any scale, but a deformation that maps volumes to a millionth of them flattens space.
    if not float(torch.linalg.det(matrix[:-1, :-1]).abs()) > FLAT:
        return AffineTransform.identity(d)
    return AffineTransform(matrix)
