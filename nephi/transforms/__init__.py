"""Deformations as functions from points to points, with their Jacobians."""

from nephi.transforms.affine import AffineMaps, AffineTransform
from nephi.transforms.attention import AttentionMaps, CoordinateAttention
from nephi.transforms.bspline import BSplineField, interpolating_splines
from nephi.transforms.closest_affine import closest_affine
from nephi.transforms.composite import (
    ComposedMaps,
    Composite,
    MirroredComposite,
    as_affine,
    composed,
    composed_affine,
    composed_with_jacobian,
    warn_beyond_fields,
)
from nephi.transforms.displacement import ContinuedDisplacement, DisplacementField, DisplacementMaps
from nephi.transforms.fitting import FittingField, fitting_field
from nephi.transforms.inverse import NumericalInverse, invert
from nephi.transforms.maps import MapPair, Maps, Penalties, SingleMap, mean_penalties
from nephi.transforms.node_values import NodeValues
from nephi.transforms.point_fits import affine_fit, halfway_affine_fit, nearest_rotation, rigid_fit, similarity_fit
from nephi.transforms.spline import Spline, SplineMaps, spline_fit
from nephi.transforms.transform import Transform, any_real_points
from nephi.transforms.velocity import StationaryVelocity, VelocityMaps, mean_squared_gradient
from nephi.transforms.voxels import OrderedMap, displacement_slabs

__all__ = [
    "AffineMaps",
    "AffineTransform",
    "AttentionMaps",
    "BSplineField",
    "ComposedMaps",
    "Composite",
    "ContinuedDisplacement",
    "CoordinateAttention",
    "DisplacementField",
    "DisplacementMaps",
    "FittingField",
    "MapPair",
    "Maps",
    "MirroredComposite",
    "NodeValues",
    "NumericalInverse",
    "OrderedMap",
    "Penalties",
    "SingleMap",
    "Spline",
    "SplineMaps",
    "StationaryVelocity",
    "Transform",
    "VelocityMaps",
    "affine_fit",
    "any_real_points",
    "as_affine",
    "closest_affine",
    "composed",
    "composed_affine",
    "composed_with_jacobian",
    "displacement_slabs",
    "fitting_field",
    "halfway_affine_fit",
    "interpolating_splines",
    "invert",
    "mean_penalties",
    "mean_squared_gradient",
    "nearest_rotation",
    "rigid_fit",
    "similarity_fit",
    "spline_fit",
    "warn_beyond_fields",
]
