"""Random sample points, of a whole grid or inside a mask, anywhere or at voxel centres; random rotations."""

from nephi.sampling.rotations import random_rotation
from nephi.sampling.uniform import (
    GridPoints,
    MaskPoints,
    PointSource,
    VoxelCentres,
    patch_offsets,
    point_source,
    window_offsets,
)

__all__ = [
    "GridPoints",
    "MaskPoints",
    "PointSource",
    "VoxelCentres",
    "patch_offsets",
    "point_source",
    "random_rotation",
    "window_offsets",
]
