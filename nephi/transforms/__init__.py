"""Deformations as functions from points to points, with their Jacobians."""

from nephi.transforms.affine import AffineTransform
from nephi.transforms.bspline import BSplineField
from nephi.transforms.composite import Composite, as_affine
from nephi.transforms.displacement import ContinuedDisplacement, DisplacementField
from nephi.transforms.fitting import FittingGrid, fitting_grid
from nephi.transforms.inverse import NumericalInverse, invert
from nephi.transforms.transform import Transform

__all__ = [
    "AffineTransform",
    "BSplineField",
    "Composite",
    "ContinuedDisplacement",
    "DisplacementField",
    "FittingGrid",
    "NumericalInverse",
    "Transform",
    "as_affine",
    "fitting_grid",
    "invert",
]
