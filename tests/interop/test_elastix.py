"""nephi reads transforms of elastix, and maps points and images as transformix does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import nephi

from .scenes import Scene, to_lps

pytestmark = pytest.mark.filterwarnings("ignore:builtin type")  # from itk, on import


@pytest.fixture
def itk() -> Any:
    module = pytest.importorskip("itk", reason="needs itk-elastix, of the extra `interop`")
    if not hasattr(module, "elastix_registration_method"):
        pytest.skip("needs itk-elastix, of the extra `interop`")
    return module


def settings(itk: Any, kinds: list[str]) -> Any:
    """Return parameter maps for a few steps of each kind: enough to differ from the identity."""
    chosen = itk.ParameterObject.New()
    for kind in kinds:
        names = {"Translation": "translation", "Affine": "affine", "BSpline": "bspline"}
        each = chosen.GetDefaultParameterMap(names.get(kind, "rigid"), 1)
        each["Transform"] = [f"{kind}Transform"]
        each["MaximumNumberOfIterations"] = ["12"]
        each["NumberOfSpatialSamples"] = ["500"]
        each["AutomaticScalesEstimation"] = ["true"]
        each["AutomaticTransformInitialization"] = ["false"]
        each["RandomSeed"] = ["1"]
        if kind == "BSpline":
            each["FinalGridSpacingInPhysicalUnits"] = ["9"]
        chosen.AddParameterMap(each)
    return chosen


def register(itk: Any, scene: Scene, kinds: list[str]) -> tuple[Any, list[Path]]:
    nephi.write_image(nephi.resample(scene.moving, scene.grid, scene.deformation), scene.fixed_file)
    fixed, moving = (itk.imread(str(f), itk.F) for f in (scene.fixed_file, scene.moving_file))
    warped, _ = itk.elastix_registration_method(
        fixed,
        moving,
        parameter_object=settings(itk, kinds),
        output_directory=str(scene.folder),
        number_of_threads=1,
        log_to_console=False,
    )
    return warped, [scene.folder / f"TransformParameters.{i}.txt" for i in range(len(kinds))]


def mapped(itk: Any, scene: Scene, files: list[Path], points: Tensor) -> Tensor:
    """Map points with transformix, from a point file that nephi writes."""
    nephi.write_points(scene.folder / "in.pts", nephi.Points(points))
    chain = itk.ParameterObject.New()
    for file in files:
        chain.AddParameterFile(str(file))
    moving = itk.imread(str(scene.moving_file), itk.F)
    itk.transformix_filter(
        moving,
        transform_parameter_object=chain,
        fixed_point_set_file_name=str(scene.folder / "in.pts"),
        output_directory=str(scene.folder),
        log_to_console=False,
    )
    rows = (scene.folder / "outputpoints.txt").read_text(encoding="utf-8").splitlines()
    numbers = [row.split("OutputPoint = [")[1].split("]")[0].split() for row in rows]
    return to_lps(torch.tensor([[float(n) for n in row] for row in numbers], dtype=torch.float64))


@pytest.mark.parametrize(
    "kinds",
    [["Translation"], ["Euler"], ["Similarity"], ["Affine"], ["BSpline"], ["Euler", "Affine", "BSpline"]],
    ids=lambda kinds: "+".join(kinds),
)
def test_transforms_of_elastix(itk: Any, scene: Scene, kinds: list[str]) -> None:
    _, files = register(itk, scene, kinds)
    ours, points = nephi.read_transform(files[-1]), scene.points_between()
    moved = ours(points)
    assert (moved - points).norm(dim=-1).mean() > 0.1
    torch.testing.assert_close(mapped(itk, scene, files, points), moved, rtol=0, atol=1e-3)
    chain = itk.ParameterObject.New()
    for file in files:
        chain.AddParameterFile(str(file))
        chain.SetParameter(chain.GetNumberOfParameterMaps() - 1, "FinalBSplineInterpolationOrder", "1")
    image = itk.transformix_filter(
        itk.imread(str(scene.moving_file), itk.F), transform_parameter_object=chain, log_to_console=False
    )
    scene.require_equal(np.asarray(image).T, ours)


def test_transforms_written_for_elastix(itk: Any, scene: Scene) -> None:
    """transformix maps points and images by an affine map and B-splines that nephi wrote."""
    d = scene.dimension
    matrix = torch.eye(d + 1, dtype=torch.float64)
    matrix[:-1] += 0.05 * torch.rand(d, d + 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    affine = nephi.AffineTransform(matrix)
    reached = scene.grid.covering(scene.grid.transformed(matrix))
    splines = nephi.transforms.interpolating_splines(scene.deformation, reached, 9.0)
    files = [scene.folder / f"TransformParameters.{number}.txt" for number in range(2)]
    nephi.io.write_elastix_affine(files[0], affine, scene.grid)
    nephi.io.write_elastix_spline(files[1], splines, scene.grid, files[0].name)
    nephi.write_image(scene.moving, scene.moving_file)
    expected, points = nephi.transforms.Composite([affine, splines]), scene.points_between()
    torch.testing.assert_close(mapped(itk, scene, files, points), expected(points), rtol=0, atol=1e-3)
    torch.testing.assert_close(nephi.read_transform(files[1])(points), expected(points), rtol=0, atol=1e-3)
