"""SimpleITK reads exports of nephi, and nephi reads files of SimpleITK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
import torch
from torch import Tensor

import nephi

from .scenes import Scene, to_lps

EXPORTS = [
    ("warp.nii.gz", "itk"),
    ("warp.nii", "itk"),
    ("warp.mha", "itk"),
    ("warp.nrrd", "itk"),
    ("warp.nii.gz", "slicer"),
    ("warp.nrrd", "nrrd"),
    ("warp.h5", "h5"),
    ("warp.tfm", "h5"),
]


def load(path: Path) -> Any:
    """Return a file as a SimpleITK transform."""
    if path.suffix in (".h5", ".tfm"):
        return sitk.ReadTransform(str(path))
    return sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))


def mapped(transform: Any, points: Tensor) -> Tensor:
    lps = [transform.TransformPoint(p) for p in to_lps(points).tolist()]
    return to_lps(torch.tensor(lps, dtype=torch.float64))


def warped(scene: Scene, transform: Any) -> Any:
    moving, fixed = (sitk.ReadImage(str(f), sitk.sitkFloat32) for f in (scene.moving_file, scene.fixed_file))
    result = sitk.Resample(moving, fixed, transform, sitk.sitkLinear, 0.0)
    return sitk.GetArrayFromImage(result).T


@pytest.mark.parametrize(("name", "format"), EXPORTS)
def test_exports(scene: Scene, name: str, format: str) -> None:
    if (scene.dimension, format) == (2, "slicer"):
        with pytest.raises(nephi.DataError, match="expected 3-D images for the format slicer, found 2-D"):
            scene.export(name, format)
        return
    path = scene.export(name, format)
    theirs, ours = load(path), nephi.read_transform(path)
    scene.require_equal(warped(scene, theirs))
    between, centres = scene.points_between(), scene.voxel_centres()
    torch.testing.assert_close(mapped(theirs, between), ours(between), rtol=0, atol=1e-3)
    torch.testing.assert_close(mapped(theirs, centres), scene.deformation(centres), rtol=0, atol=1e-3)
    torch.testing.assert_close(ours(centres), scene.deformation(centres), rtol=0, atol=1e-3)


@pytest.mark.parametrize(("name", "format"), EXPORTS[:4] + EXPORTS[5:])
def test_exports_with_a_tolerance(scene: Scene, name: str, format: str) -> None:
    """On a coarser grid, interpolated by SimpleITK."""
    found = nephi.transforms.fitting_field(scene.deformation, scene.grid, 0.01)
    assert found.deviation <= 0.01
    nephi.export_transform(found.transform, found.grid, scene.folder / name, format)
    theirs = load(scene.folder / name)
    scene.require_equal(warped(scene, theirs))
    points = torch.cat([scene.points_between(), scene.voxel_centres()])
    assert float((mapped(theirs, points) - scene.deformation(points)).norm(dim=-1).max()) < 0.011


@pytest.mark.parametrize(
    ("name", "format"),
    [(f"a{suffix}", "itk") for suffix in (".tfm", ".mat", ".txt", ".h5")] + [("a.h5", "h5"), ("a.tfm", "h5")],
)
def test_affine_exports_stay_affine(scene: Scene, name: str, format: str) -> None:
    d = scene.dimension
    matrix = torch.eye(d + 1, dtype=torch.float64)
    matrix[:d] += 0.05 * torch.randn(d, d + 1, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    chain = nephi.Composite([nephi.AffineTransform(matrix), nephi.AffineTransform.translation(matrix[:d, d])])
    nephi.export_transform(chain, scene.grid, scene.folder / name, format)
    theirs = sitk.ReadTransform(str(scene.folder / name))
    assert theirs.IsLinear()
    far = 1000 * scene.points_between()
    torch.testing.assert_close(mapped(theirs, far), chain(far), rtol=0, atol=1e-3)
    scene.require_equal(warped(scene, theirs), chain)


def spline_of_simpleitk(scene: Scene) -> Any:
    """Return B-splines of SimpleITK over the fixed image."""
    reference = sitk.ReadImage(str(scene.fixed_file))
    spline = sitk.BSplineTransformInitializer(reference, [4] * scene.dimension)
    generator = torch.Generator().manual_seed(2)
    spline.SetParameters((3 * torch.randn(len(spline.GetParameters()), generator=generator)).tolist())
    return spline


def field_of_simpleitk(scene: Scene) -> Any:
    """Return the same transform as a dense field on the fixed image's grid."""
    reference = sitk.ReadImage(str(scene.fixed_file))
    spline = spline_of_simpleitk(scene)
    return sitk.TransformToDisplacementField(
        spline,
        sitk.sitkVectorFloat64,
        reference.GetSize(),
        reference.GetOrigin(),
        reference.GetSpacing(),
        reference.GetDirection(),
    )


@pytest.mark.parametrize("suffix", [".h5", ".tfm"])
@pytest.mark.parametrize("chained", [False, True])
def test_splines_of_simpleitk(scene: Scene, suffix: str, chained: bool) -> None:
    path = scene.folder / f"spline{suffix}"
    theirs = spline_of_simpleitk(scene)
    if chained:
        turn = sitk.Euler2DTransform() if scene.dimension == 2 else sitk.Euler3DTransform()
        turn.SetParameters([0.05] * len(turn.GetParameters()))
        theirs = sitk.CompositeTransform([turn, theirs])
    sitk.WriteTransform(theirs, str(path))
    ours, points = nephi.read_transform(path), scene.points_between()
    torch.testing.assert_close(ours(points), mapped(theirs, points), rtol=0, atol=1e-3)
    scene.require_equal(warped(scene, theirs), ours)


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".nrrd", ".h5"])
def test_fields_of_simpleitk(scene: Scene, suffix: str) -> None:
    path = scene.folder / f"theirs{suffix}"
    field = field_of_simpleitk(scene)
    if suffix == ".h5":
        sitk.WriteTransform(sitk.DisplacementFieldTransform(sitk.Image(field)), str(path))
    else:
        sitk.WriteImage(field, str(path))
    theirs = sitk.DisplacementFieldTransform(sitk.Image(field))
    ours, points = nephi.read_transform(path), scene.points_between()
    torch.testing.assert_close(ours(points), mapped(theirs, points), rtol=0, atol=1e-3)
    scene.require_equal(warped(scene, theirs), ours)


@pytest.mark.parametrize("suffix", [".h5", ".tfm"])
def test_chains_of_simpleitk(scene: Scene, suffix: str) -> None:
    """The transform added last acts first."""
    path = scene.folder / f"theirs{suffix}"
    field = sitk.DisplacementFieldTransform(field_of_simpleitk(scene))
    shift = sitk.TranslationTransform(scene.dimension, [1.5, -2.0, 0.7][: scene.dimension])
    turn = sitk.Euler2DTransform((4.0, -7.0), 0.2) if scene.dimension == 2 else sitk.Euler3DTransform((4, -7, 11), 0.2)
    theirs = sitk.CompositeTransform([shift, field, turn])
    sitk.WriteTransform(theirs, str(path))
    ours, points = nephi.read_transform(path), scene.points_between()
    torch.testing.assert_close(ours(points), mapped(theirs, points), rtol=0, atol=1e-3)
    scene.require_equal(warped(scene, theirs), ours)
