"""Read transforms of ITK, SimpleITK and ANTs from their four file formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.geometry.frames import flip_matrix, flip_points
from nephi.io.files.input_files import HDF5_SUFFIXES, TEXT_SUFFIXES, prefix_errors, suffix_of
from nephi.io.transforms.itk_hdf5 import read_hdf5_members
from nephi.io.transforms.itk_linear import LINEAR, Vector
from nephi.io.transforms.itk_matlab import read_matlab_members
from nephi.io.transforms.itk_member import COMPOSITE, SPLINES, Member, lattice_size
from nephi.io.transforms.itk_minc import read_minc_member
from nephi.io.transforms.itk_text import read_text_members
from nephi.transforms import AffineTransform, BSplineField, Composite, DisplacementField, Transform, as_affine


def read_itk_transform(path: Path) -> Transform:
    """Read a transform file of ITK (world mm, RAS): a transform, or a composite, whose last member is applied first.

    The file is parsed without ITK, which reads beyond its arrays if numbers are missing. Composites of linear maps
    become one matrix. Raises `DataError` naming the file when it is damaged, or has a transform of unsupported kind.
    """
    suffix = suffix_of(path)
    if suffix in TEXT_SUFFIXES:
        members = read_text_members(path)
    elif suffix in HDF5_SUFFIXES:
        members = read_hdf5_members(path)
    else:
        members = read_matlab_members(path) if suffix == ".mat" else [read_minc_member(path)]
    if members[0].type.name != COMPOSITE:
        if len(members) > 1:
            raise DataError(
                f"{path}: expected one transform or one composite, found several transforms; "
                "save them one by one, or as a composite"
            )
        return _convert_member(path, members[0])
    return _convert_composite(path, members[0].type.dimension, members[1:])


def _convert_composite(path: Path, dimension: int, members: list[Member]) -> Transform:
    for member in members:
        if member.type.name == COMPOSITE or member.type.dimension != dimension:
            found = f"a {member.type.name} in {member.type.dimension}-D"
            raise DataError(f"{path}: expected a composite of single transforms in {dimension}-D, found {found}")
    if not members:
        raise DataError(f"{path}: expected a composite of transforms, found an empty one")
    # ITK applies the last member first.
    composite = Composite([_convert_member(path, member) for member in reversed(members)])
    with prefix_errors(path):
        affine = as_affine(composite)
    return affine or (composite if len(members) > 1 else composite.transforms[0])


def _convert_member(path: Path, member: Member) -> Transform:
    if member.type.name in LINEAR:
        return affine_from_itk(path, member)
    grid = _grid(path, member)
    d = grid.dimension
    if member.type.name == SPLINES:
        # Stored component by component, the first axis fastest.
        blocks = torch.from_numpy(member.parameters).reshape(d, *reversed(grid.shape))
        with prefix_errors(path):
            return BSplineField(flip_points(blocks.permute(*range(d, 0, -1), 0)).float().contiguous(), grid)
    with np.errstate(over="ignore"):  # DisplacementField rejects infinite values
        vectors = member.parameters.astype(np.float32, copy=False).reshape(*reversed(grid.shape), d)
    if not vectors.flags.writeable:
        vectors = vectors.copy()
    np.negative(vectors[..., :2], out=vectors[..., :2])
    with prefix_errors(path):
        return DisplacementField(torch.from_numpy(vectors).permute(*reversed(range(d)), d), grid)


def affine_from_itk(path: Path, member: Member) -> AffineTransform:
    """Convert a linear transform of any class of ITK to a matrix in RAS; raise `DataError` when it is singular."""
    d = member.type.dimension
    with prefix_errors(path), np.errstate(all="ignore"):  # AffineTransform rejects overflow
        linear = LINEAR[member.type.name].map(d, member.parameters.astype(np.float64), member.fixed)
        return AffineTransform(flip_matrix(d) @ torch.from_numpy(linear.homogeneous()) @ flip_matrix(d))


def _grid(path: Path, member: Member) -> Grid:
    """Return the grid, in RAS, that the fixed parameters define."""
    d = member.type.dimension
    shape = lattice_size(path, member.type, member.fixed)
    origin, spacing, direction = _lattice(member.fixed, d)
    lps = np.eye(d + 1)
    lps[:d, :d] = direction * spacing
    lps[:d, d] = origin
    with prefix_errors(path):
        if not bool((spacing > 0).all()):
            raise DataError(f"expected positive spacings of the grid, found {spacing.tolist()}")
        return Grid(shape, flip_matrix(d) @ torch.from_numpy(lps))


def _lattice(fixed: Vector, d: int) -> tuple[Vector, Vector, Vector]:
    """Return origin, spacing and direction `(D, D)` from the fixed parameters of a grid."""
    return fixed[d : 2 * d], fixed[2 * d : 3 * d], fixed[3 * d :].reshape(d, d)
