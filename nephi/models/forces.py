"""The demons' forces of two images: the motion that single voxels suggest."""

from __future__ import annotations

import torch
from torch import Tensor

FLAT = 1e-4  # squared slope, per voxel, below which noise would decide the direction


def forces(fixed: Tensor, moving: Tensor) -> Tensor:
    """Return the demons' forces `(B, D, *shape)` of images `(B, 1, *shape)`, in voxels along each axis, at most 1 long.

    To first order `fixed(x) = moving(x + u)` determines the component of u along the gradient g of the images' mean:
    `u = (fixed - moving) g / (|g|^2 + (fixed - moving)^2 / 4 + FLAT)`. The symmetric force of Vercauteren
    et al. (NeuroImage 2009), after Thirion (Medical Image Analysis 1998). Axes have two voxels or more.
    """
    difference = fixed - moving
    slopes = torch.gradient((fixed + moving) / 2, dim=list(range(2, fixed.ndim)))
    slope = torch.cat(slopes, dim=1)
    return difference * slope / (slope.square().sum(dim=1, keepdim=True) + difference.square() / 4 + FLAT)
