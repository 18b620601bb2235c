"""Random sample points: of a whole grid, inside a mask, at voxel centres, around labels; random rotations."""

from nephi.sampling.boundaries import LabelBoundaries, label_boundaries
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
    "LabelBoundaries",
    "MaskPoints",
    "PointSource",
    "VoxelCentres",
    "label_boundaries",
    "patch_offsets",
    "point_source",
    "random_rotation",
    "window_offsets",
]
