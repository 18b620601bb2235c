"""Linear transforms of SimpleITK, as affine maps and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from nephi.io.foreign import naming
from nephi.io.frames import flip_matrix
from nephi.io.itk import simpleitk
from nephi.transforms import AffineTransform


def affine_of(foreign: Any, path: Path) -> AffineTransform:
    """Return a linear ITK transform of any class (its centre included) as a matrix in RAS."""
    d = foreign.GetDimension()
    origin = np.array(foreign.TransformPoint([0.0] * d))
    lps = np.eye(d + 1)
    lps[:d, :d] = np.stack([np.array(foreign.TransformPoint(e)) - origin for e in np.eye(d).tolist()], axis=1)
    lps[:d, d] = origin
    with naming(path):
        return AffineTransform(flip_matrix(d) @ torch.from_numpy(lps) @ flip_matrix(d))


def affine_for_itk(affine: AffineTransform) -> Any:
    """Return an affine map as SimpleITK's transform, in LPS, centre 0."""
    sitk = simpleitk()
    d = affine.dimension
    lps = flip_matrix(d) @ affine.matrix @ flip_matrix(d)
    foreign = sitk.AffineTransform(d)
    foreign.SetMatrix(lps[:d, :d].reshape(-1).tolist())
    foreign.SetTranslation(lps[:d, d].tolist())
    return foreign
