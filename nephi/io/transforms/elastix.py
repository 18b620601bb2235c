"""Read transforms of elastix: `TransformParameters.*.txt`, with the chain of initial transforms before each."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.geometry.frames import flip_matrix, flip_points
from nephi.io.files.input_files import TRANSFORM_SUFFIXES, prefix_errors, suffix_of
from nephi.io.transforms.elastix_file import ElastixFile, is_elastix
from nephi.io.transforms.itk_member import MemberType, verified_member
from nephi.io.transforms.itk_transform import affine_from_itk, read_itk_transform
from nephi.transforms import AffineTransform, BSplineField, Composite, Transform

LINEAR_KINDS = {
    "Translation": {2: "TranslationTransform", 3: "TranslationTransform"},
    "Euler": {2: "Euler2DTransform", 3: "Euler3DTransform"},
    "Similarity": {2: "Similarity2DTransform", 3: "Similarity3DTransform"},
    "Affine": {2: "AffineTransform", 3: "AffineTransform"},
}
"""Classes of ITK of the linear transforms of elastix, by dimension."""
KINDS = "Translation, Euler, Similarity, Affine, BSpline and File"
INITIAL_NAMES = ("InitialTransformParametersFileName", "InitialTransformParameterFileName")  # of elastix 4 and 5
NO_INITIAL = "NoInitialTransform"
MAX_CHAIN = 256
"""Largest number of files in a chain of initial transforms."""


def read_elastix(path: Path) -> Transform:
    """Read a transform of elastix with its initial transforms (world mm, RAS), which are applied first.

    As in elastix, the name of the initial transform may be missing (none), or the index of a transform of the same
    series (`0`: `TransformParameters.0.txt`). Files of ITK are read for `(Transform "File")`, and for an initial
    transform that is not a parameter file.

    Raises `DataError` naming the file when it is damaged or incomplete, when the transform is not a Translation, Euler,
    Similarity, Affine or cubic BSpline, when transforms are combined by addition, when an initial transform is
    missing, or when the chain has more than 256 files.
    """
    members: list[Transform] = []
    visited: set[Path] = set()
    current: Path | None = path
    while current is not None:
        visited.add(current.resolve())
        if current != path and not (suffix_of(current) == ".txt" and is_elastix(current)):
            members.append(_read_itk_file(current))
            break
        file = ElastixFile(current)
        members.append(_single_transform(file))
        current = _initial_transform_path(file)
        if current is not None and current.resolve() in visited:
            raise DataError(
                f"{file.path}: expected a chain of initial transforms, found a cycle through {current.name}"
            )
        if current is not None and len(members) >= MAX_CHAIN:
            raise DataError(f"{path}: expected a chain of at most {MAX_CHAIN} transforms, found a longer one")
    if len({member.dimension for member in members}) > 1:
        raise DataError(f"{path}: expected a chain of transforms of one dimension, found 2-D and 3-D ones")
    return members[0] if len(members) == 1 else Composite(members[::-1])


def _read_itk_file(path: Path) -> Transform:
    if suffix_of(path) not in TRANSFORM_SUFFIXES:
        raise DataError(
            f"{path}: expected a transform ({', '.join(TRANSFORM_SUFFIXES)}), found {path.suffix or 'none'}"
        )
    return read_itk_transform(path)


def _single_transform(file: ElastixFile) -> Transform:
    """Return the transform of one parameter file, without its initial transforms."""
    kind = file.word("Transform").removesuffix("Transform")
    if kind == "File":
        return _read_itk_file(file.locate(file.word("TransformFileName"), "TransformFileName"))
    dimension = len(file.numbers("Size")) if "Size" in file else 0
    stated = file.word("FixedImageDimension", str(dimension))
    if stated not in ("2", "3"):
        raise DataError(f"{file.path}: expected a transform in 2-D or 3-D, found {stated[:40]}-D")
    dimension = int(stated)
    if file.word("UseDirectionCosines", "true") != "true":
        raise DataError(
            f"{file.path}: expected UseDirectionCosines true, found false, which ignores the directions of the images"
        )
    values = file.parameters()
    if kind in ("BSpline", "RecursiveBSpline"):
        return _spline(file, values, dimension)
    return _linear(file, kind, values, dimension)


def _linear(file: ElastixFile, kind: str, values: list[float], d: int) -> AffineTransform:
    if kind not in LINEAR_KINDS:
        raise DataError(
            f"{file.path}: expected a transform of the kinds {KINDS}, found {kind[:80]}; compute its field with "
            "transformix (-def all), and use that"
        )
    fixed = [] if kind == "Translation" else file.numbers("CenterOfRotationPoint", d)
    if kind == "Euler" and d == 3:
        fixed.append(float(file.word("ComputeZYX", "false") == "true"))
    member_type = MemberType(LINEAR_KINDS[kind][d], d)
    return affine_from_itk(file.path, verified_member(file.path, member_type, np.array(values), np.array(fixed)))


def _spline(file: ElastixFile, values: list[float], d: int) -> BSplineField:
    order = file.word("BSplineTransformSplineOrder", "3")
    cyclic = file.word("UseCyclicTransform", "false")
    if (order, cyclic) != ("3", "false"):
        raise DataError(f"{file.path}: expected cubic B-splines, not cyclic, found order {order}, cyclic {cyclic}")
    size = file.numbers("GridSize", d)
    if not all(1 <= n < 2**31 and n == int(n) for n in size):
        raise DataError(f"{file.path}: expected whole, positive numbers for GridSize, found {size}")
    shape = [int(n) for n in size]
    if len(values) != d * int(np.prod(shape, dtype=object)):
        raise DataError(
            f"{file.path}: expected {d} TransformParameters for each of {shape} points, found {len(values)}"
        )
    spacing, origin, index = (
        torch.tensor(file.numbers(name, d), dtype=torch.float64) for name in ("GridSpacing", "GridOrigin", "GridIndex")
    )
    # GridDirection is stored column by column.
    direction = torch.tensor(file.numbers("GridDirection", d * d), dtype=torch.float64).reshape(d, d).T
    lps = torch.eye(d + 1, dtype=torch.float64)
    lps[:d, :d] = direction * spacing
    lps[:d, d] = origin + lps[:d, :d] @ index
    # Coefficients are stored component by component, x fastest.
    blocks = torch.tensor(values, dtype=torch.float64).float().reshape(d, *reversed(shape))
    with prefix_errors(file.path):
        coefficients = flip_points(blocks.permute(*range(d, 0, -1), 0)).contiguous()
        return BSplineField(coefficients, Grid(tuple(shape), flip_matrix(d) @ lps))


def _initial_transform_path(file: ElastixFile) -> Path | None:
    """Return the file of the initial transform, which is applied before this one; None without one."""
    older, newer = INITIAL_NAMES
    name = file.word(older if older in file else newer, NO_INITIAL)
    if name in (NO_INITIAL, ""):
        return None
    if file.word("HowToCombineTransforms", "Compose") != "Compose":
        raise DataError(f"{file.path}: expected HowToCombineTransforms Compose, found Add; compose the transforms")
    if re.fullmatch(r"[0-9]{1,4}", name):
        series = re.fullmatch(r"(.*?)([0-9]+)(\.[A-Za-z]+)", file.path.name)
        if series is None:
            raise DataError(
                f"{file.path}: expected a file name with a number for the initial transform {name} of a series, found "
                f"none; set {newer} to the name of a file, or to {NO_INITIAL}"
            )
        name = f"{series[1]}{int(name)}{series[3]}"
    return file.locate(name, "initial transform")
