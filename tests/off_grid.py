"""Error of an exported field between voxels, as SimpleITK reads and interpolates it."""

from pathlib import Path

import SimpleITK
import torch

from nephi.geometry import Grid
from nephi.io import export_transform
from nephi.transforms import FittingField, Transform


def distance_in_simpleitk(transform: Transform, field: FittingField, reference: Grid, path: Path) -> float:
    """Export a fitting field; return the largest distance, mm, at random points, others than those of the fit."""
    export_transform(field.transform, field.grid, path)
    exported = SimpleITK.DisplacementFieldTransform(SimpleITK.ReadImage(str(path), SimpleITK.sitkVectorFloat64))
    unit = torch.rand(20_000, 3, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    points = reference.voxel_to_world_points(unit * (torch.tensor(reference.shape) - 1))
    lps = torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64)
    displaced = lps * torch.tensor([exported.TransformPoint(point) for point in (lps * points).tolist()])
    return float((displaced - transform(points)).norm(dim=-1).max())
