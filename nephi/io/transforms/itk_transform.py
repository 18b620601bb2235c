"""Transforms of ITK, SimpleITK and ANTs, from their four file formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.io.files.input_files import prefix_errors, suffix_of
from nephi.io.frames import flip_matrix, flip_points
from nephi.io.transforms.itk_hdf5 import read_hdf5_members
from nephi.io.transforms.itk_linear import LINEAR, Vector
from nephi.io.transforms.itk_matlab import read_matlab_members
from nephi.io.transforms.itk_member import COMPOSITE, SPLINES, Member, lattice_size
from nephi.io.transforms.itk_minc import read_minc_member
from nephi.io.transforms.itk_text import read_text_members
from nephi.transforms import AffineTransform, BSplineField, Composite, DisplacementField, Transform, as_affine

TEXT_SUFFIXES = (".tfm", ".txt")
HDF5_SUFFIXES = (".h5", ".hdf5")
TRANSFORM_SUFFIXES = (*TEXT_SUFFIXES, *HDF5_SUFFIXES, ".mat", ".xfm")


def read_itk_transform(path: Path) -> Transform:
    """Read a transform file of ITK (world mm, RAS): one transform, or one composite, whose last member acts first.

    The file is parsed here, not by ITK, which takes missing numbers from beyond its arrays. Chains of linear maps
    become one matrix. Raises `DataError` naming the file when it is damaged, or holds what nephi cannot represent.
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
                f"{path}: expected one transform or one composite, found several without an order; "
                "save them one by one, or as a composite"
            )
        return _transform(path, members[0])
    return _chain(path, members[0].type.dimension, members[1:])


def _chain(path: Path, dimension: int, members: list[Member]) -> Transform:
    for member in members:
        if member.type.name == COMPOSITE or member.type.dimension != dimension:
            found = f"a {member.type.name} in {member.type.dimension}-D"
            raise DataError(f"{path}: expected a chain of single transforms in {dimension}-D, found {found} in it")
    if not members:
        raise DataError(f"{path}: expected a chain of transforms, found an empty one")
    # ITK applies the transform added last first.
    chain = Composite([_transform(path, member) for member in reversed(members)])
    with prefix_errors(path):
        merged = as_affine(chain)
    return merged or (chain if len(members) > 1 else chain.transforms[0])


def _transform(path: Path, member: Member) -> Transform:
    if member.type.name in LINEAR:
        return affine_from_itk(path, member)
    grid = _grid(path, member)
    d = grid.dimension
    if member.type.name == SPLINES:
        # One component after the other, the first axis fastest.
        blocks = torch.from_numpy(member.parameters).reshape(d, *reversed(grid.shape))
        with prefix_errors(path):
            return BSplineField(flip_points(blocks.permute(*range(d, 0, -1), 0)).float().contiguous(), grid)
    with np.errstate(over="ignore"):  # refused below
        vectors = member.parameters.astype(np.float32, copy=False).reshape(*reversed(grid.shape), d)
    if not vectors.flags.writeable:
        vectors = vectors.copy()
    np.negative(vectors[..., :2], out=vectors[..., :2])
    with prefix_errors(path):
        return DisplacementField(torch.from_numpy(vectors).permute(*reversed(range(d)), d), grid)


def affine_from_itk(path: Path, member: Member) -> AffineTransform:
    """Return a linear transform of any of ITK's classes as a matrix in RAS; `DataError` when it is singular."""
    d = member.type.dimension
    with prefix_errors(path), np.errstate(all="ignore"):  # AffineTransform refuses what overflows
        linear = LINEAR[member.type.name].map(d, member.parameters.astype(np.float64), member.fixed)
        return AffineTransform(flip_matrix(d) @ torch.from_numpy(linear.homogeneous()) @ flip_matrix(d))


def _grid(path: Path, member: Member) -> Grid:
    """Return the grid, in RAS, that the fixed parameters describe."""
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
    """Return origin, spacing and direction `(D, D)` of a grid's fixed parameters."""
    return fixed[d : 2 * d], fixed[2 * d : 3 * d], fixed[3 * d :].reshape(d, d)
