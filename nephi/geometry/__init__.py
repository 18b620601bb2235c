"""Grids and points with their coordinate frames, and interpolation of arrays at points."""

from nephi.geometry.cells import multilinear, multilinear_with_slopes
from nephi.geometry.gradient_mode import full_precision, gradients_recorded, recordable
from nephi.geometry.grid import Grid, Plane, require_cpu_by_default
from nephi.geometry.interpolation import interpolate, interpolate_batch, interpolate_with_gradient
from nephi.geometry.label_interpolation import interpolate_labels, interpolate_majority, interpolate_nearest
from nephi.geometry.matrices import determinant, determinant_of_rows, identity_like, jacobian_product
from nephi.geometry.points import PointMap, PointPairs, Points
from nephi.geometry.real_numbers import real_numbers
from nephi.geometry.splines import (
    spline,
    spline_coefficients,
    spline_sites,
    spline_slopes,
    spline_weights,
    spline_with_slopes,
)
from nephi.geometry.table_interpolation import (
    cell_differences,
    interpolate_tables,
    interpolate_tables_with_gradient,
)

__all__ = [
    "Grid",
    "Plane",
    "PointMap",
    "PointPairs",
    "Points",
    "cell_differences",
    "determinant",
    "determinant_of_rows",
    "full_precision",
    "gradients_recorded",
    "identity_like",
    "interpolate",
    "interpolate_batch",
    "interpolate_labels",
    "interpolate_majority",
    "interpolate_nearest",
    "interpolate_tables",
    "interpolate_tables_with_gradient",
    "interpolate_with_gradient",
    "jacobian_product",
    "multilinear",
    "multilinear_with_slopes",
    "real_numbers",
    "recordable",
    "require_cpu_by_default",
    "spline",
    "spline_coefficients",
    "spline_sites",
    "spline_slopes",
    "spline_weights",
    "spline_with_slopes",
]
