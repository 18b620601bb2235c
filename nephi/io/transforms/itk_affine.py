"""Affine maps as linear transforms of SimpleITK."""

from __future__ import annotations

from typing import Any

from nephi.io.frames import flip_matrix
from nephi.io.itk import simpleitk
from nephi.transforms import AffineTransform


def affine_for_itk(affine: AffineTransform) -> Any:
    """Return an affine map as SimpleITK's transform, in LPS, centre 0."""
    sitk = simpleitk()
    d = affine.dimension
    lps = flip_matrix(d) @ affine.matrix @ flip_matrix(d)
    foreign = sitk.AffineTransform(d)
    foreign.SetMatrix(lps[:d, :d].reshape(-1).tolist())
    foreign.SetTranslation(lps[:d, d].tolist())
    return foreign
