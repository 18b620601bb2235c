"""fslpy (the library of FSL) reads exports of nephi, and nephi reads files of fslpy; also between two grids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import nephi

from .scenes import Scene, make_grid, make_scene


@pytest.fixture(autouse=True)
def needs_fslpy() -> None:
    pytest.importorskip("fsl.transform.fnirt", reason="needs fslpy, of the extra `interop`")


def images(scene: Scene) -> tuple[Any, Any]:
    from fsl.data.image import Image

    return Image(str(scene.fixed_file)), Image(str(scene.moving_file))


def mapped(scene: Scene, path: Path, points: Tensor) -> Tensor:
    from fsl.transform.fnirt import readFnirt

    fixed, moving = images(scene)
    field = readFnirt(str(path), moving, fixed, defType="relative")
    return torch.from_numpy(np.asarray(field.transform(points.numpy(), from_="world", to="world")))


def other_moving(scene: Scene, kind: str) -> Scene:
    """Resample the moving image on another grid, of the other handedness."""
    grid = make_grid(kind)
    image = nephi.resample(scene.moving, grid, lambda points: points)
    nephi.write_image(image, scene.moving_file)
    return Scene(scene.grid, image, scene.deformation, scene.folder)


@pytest.mark.parametrize("moving_kind", ["same", "left-handed", "RAS"])
@pytest.mark.parametrize("kind", ["RAS", "LPS", "left-handed", "oblique"])
def test_exports(tmp_path: Path, kind: str, moving_kind: str) -> None:
    from fsl.transform.fnirt import readFnirt
    from fsl.transform.nonlinear import applyDeformation

    scene = make_scene(kind, tmp_path)
    scene = scene if moving_kind == "same" else other_moving(scene, moving_kind)
    path = tmp_path / "w.nii.gz"
    nephi.export_transform(scene.deformation, scene.grid, path, "fsl", scene.moving.grid)
    centres = scene.voxel_centres()
    torch.testing.assert_close(mapped(scene, path, centres), scene.deformation(centres), rtol=0, atol=1e-3)
    ours = nephi.read_transform(path, nephi.io.FieldConvention("fsl", moving=scene.moving.grid))
    torch.testing.assert_close(ours(centres), scene.deformation(centres), rtol=0, atol=1e-3)
    fixed, moving = images(scene)
    field = readFnirt(str(path), moving, fixed, defType="relative")
    scene.require_equal(applyDeformation(moving, field, order=1))


def test_fields_of_fslpy(scene_3d: Scene) -> None:
    from fsl.transform.fnirt import toFnirt
    from fsl.transform.nonlinear import DeformationField

    fixed, moving = images(scene_3d)
    points = scene_3d.grid.voxel_centres().double()
    field = DeformationField(
        (scene_3d.deformation(points) - points).numpy(),
        src=moving,
        ref=fixed,
        srcSpace="world",
        refSpace="world",
        defType="relative",
        header=fixed.header,
    )
    path = scene_3d.folder / "theirs.nii.gz"
    fnirt_field = toFnirt(field)
    assert fnirt_field.deformationType == "relative"
    fnirt_field.save(str(path))
    with pytest.raises(nephi.DataError, match=r"theirs\.nii\.gz: .*--transform-format"):
        nephi.read_transform(path)
    ours = nephi.read_transform(path, nephi.io.FieldConvention("fsl"))
    torch.testing.assert_close(ours(points), scene_3d.deformation(points), rtol=0, atol=1e-3)
