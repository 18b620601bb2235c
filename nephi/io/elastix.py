"""Transforms of elastix: `TransformParameters.*.txt`, and the chain each one stands at the end of."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.io.foreign import naming, require_file
from nephi.io.frames import flip_matrix, flip_points
from nephi.io.itk import simpleitk
from nephi.io.itk_affine import affine_of
from nephi.io.numbers import finite
from nephi.transforms import BSplineField, Composite, Transform

LINE = re.compile(r"^\s*\((\w+)\s+(.*?)\)\s*(?://.*)?$", re.MULTILINE)
WORD = re.compile(r'"([^"]*)"|(\S+)')
KINDS = "Translation, Euler, Similarity, Affine and BSpline"
Parameters = dict[str, list[str]]


def is_elastix(path: Path) -> bool:
    """Tell whether a text file is one of elastix' transforms."""
    require_file(path)
    return (
        re.search(r'^\s*\(Transform\s+"', path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE) is not None
    )


def read_elastix(path: Path, seen: tuple[Path, ...] = ()) -> Transform:
    """Read a transform of elastix and those it starts from (world mm, RAS): the initial one acts first.

    Raises `DataError` naming the file when it is damaged or cut, of another kind than Translation, Euler, Similarity,
    Affine and (cubic) BSpline, when transforms are to be added instead of composed, or an initial one is missing.
    """
    parameters = _parameters(path)
    kind = _word(path, parameters, "Transform").removesuffix("Transform")
    dimension = len(_numbers(path, parameters, "Size")) if "Size" in parameters else 0
    dimension = int(parameters.get("FixedImageDimension", [str(dimension)])[0])
    if dimension not in (2, 3):
        raise DataError(f"{path}: expected a transform in 2-D or 3-D, found {dimension}-D")
    if _word(path, parameters, "UseDirectionCosines", "true") != "true":
        raise DataError(f"{path}: expected UseDirectionCosines true, found false: the images' frame was left out")
    values = _numbers(path, parameters, "TransformParameters")
    announced = parameters.get("NumberOfParameters", [str(len(values))])[0]
    if announced != str(len(values)):
        raise DataError(f"{path}: expected {announced} TransformParameters, found {len(values)}; the file is damaged")
    if kind in ("BSpline", "RecursiveBSpline"):
        own: Transform = _spline(path, parameters, values, dimension)
    else:
        own = affine_of(_linear(path, parameters, kind, values, dimension), path)
    initial = _initial(path, parameters, (*seen, path.resolve()))
    return own if initial is None else Composite([initial, own])


def _parameters(path: Path) -> Parameters:
    """Return the words of each line `(Name word word ...)`."""
    text = require_file(path).read_text(encoding="utf-8", errors="replace")
    return {name: [a or b for a, b in WORD.findall(rest)] for name, rest in LINE.findall(text)}


def _word(path: Path, parameters: Parameters, name: str, default: str | None = None) -> str:
    words = parameters.get(name, [default] if default is not None else [])
    if len(words) != 1:
        raise DataError(f"{path}: expected one word for {name}, found {len(words)}; is the file whole?")
    return words[0]


def _numbers(path: Path, parameters: Parameters, name: str, count: int | None = None) -> list[float]:
    words = parameters.get(name, [])
    if not words or (count is not None and len(words) != count):
        raise DataError(
            f"{path}: expected {count or 'some'} numbers for {name}, found {len(words)}; is the file whole?"
        )
    return [finite(path, name, word) for word in words]


def _linear(path: Path, parameters: Parameters, kind: str, values: list[float], dimension: int) -> Any:
    """Return a linear transform as SimpleITK's."""
    sitk = simpleitk()
    flat = dimension == 2
    classes = {
        "Translation": sitk.TranslationTransform,
        "Euler": sitk.Euler2DTransform if flat else sitk.Euler3DTransform,
        "Similarity": sitk.Similarity2DTransform if flat else sitk.Similarity3DTransform,
        "Affine": sitk.AffineTransform,
    }
    if kind not in classes:
        raise DataError(
            f"{path}: expected a transform of the kinds {KINDS}, found {kind}; write its field with transformix "
            "(-def all), and give that"
        )
    foreign = classes[kind](dimension) if kind in ("Translation", "Affine") else classes[kind]()
    if kind != "Translation":
        foreign.SetCenter(_numbers(path, parameters, "CenterOfRotationPoint", dimension))
    if kind == "Euler" and not flat:
        foreign.SetComputeZYX(_word(path, parameters, "ComputeZYX", "false") == "true")
    if len(values) != foreign.GetNumberOfParameters():
        raise DataError(f"{path}: expected {foreign.GetNumberOfParameters()} TransformParameters, found {len(values)}")
    foreign.SetParameters(values)
    return foreign


def _spline(path: Path, parameters: Parameters, values: list[float], d: int) -> BSplineField:
    order = _word(path, parameters, "BSplineTransformSplineOrder", "3")
    cyclic = _word(path, parameters, "UseCyclicTransform", "false")
    if (order, cyclic) != ("3", "false"):
        raise DataError(f"{path}: expected cubic B-splines, not cyclic, found order {order}, cyclic {cyclic}")
    shape = [int(n) for n in _numbers(path, parameters, "GridSize", d)]
    if len(values) != d * math.prod(shape):
        raise DataError(f"{path}: expected {d} TransformParameters for each of {shape} points, found {len(values)}")
    spacing, origin, index = (
        torch.tensor(_numbers(path, parameters, name, d), dtype=torch.float64)
        for name in ("GridSpacing", "GridOrigin", "GridIndex")
    )
    # Stored column after column.
    direction = torch.tensor(_numbers(path, parameters, "GridDirection", d * d), dtype=torch.float64).reshape(d, d).T
    lps = torch.eye(d + 1, dtype=torch.float64)
    lps[:d, :d] = direction * spacing
    lps[:d, d] = origin + lps[:d, :d] @ index
    # One component after the other, x fastest.
    blocks = torch.tensor(values, dtype=torch.float32).reshape(d, *reversed(shape))
    with naming(path):
        coefficients = flip_points(blocks.permute(*range(d, 0, -1), 0)).contiguous()
        return BSplineField(coefficients, Grid(tuple(shape), flip_matrix(d) @ lps))


def _initial(path: Path, parameters: Parameters, seen: tuple[Path, ...]) -> Transform | None:
    """Return the transform that acts before this one."""
    older = "InitialTransformParametersFileName"
    name = _word(path, parameters, older if older in parameters else "InitialTransformParameterFileName")
    if name == "NoInitialTransform":
        return None
    if _word(path, parameters, "HowToCombineTransforms", "Compose") != "Compose":
        raise DataError(f"{path}: expected transforms to be composed, found HowToCombineTransforms Add; compose them")
    # Results move, and elastix may write the whole path: then the file of that name beside this one is meant.
    candidates = (path.parent / name, path.parent / re.split(r"[\\/]", name)[-1])
    found = next((each for each in candidates if each.is_file()), None)
    if found is None:
        raise DataError(f"{path}: its initial transform {name} is missing; put it beside this file")
    if found.resolve() in seen:
        raise DataError(f"{path}: expected a chain of transforms, found that {found.name} starts from itself")
    return read_elastix(found, seen)
