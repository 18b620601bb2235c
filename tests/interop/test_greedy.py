"""greedy reads what nephi exports, and nephi what greedy writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nephi

from .scenes import Scene


def greedy(dimension: int) -> Any:
    module = pytest.importorskip("picsl_greedy", reason="needs picsl-greedy, of the extra `interop`")
    return module.Greedy2D() if dimension == 2 else module.Greedy3D()


def warped(scene: Scene, chain: str) -> np.ndarray:
    result = scene.folder / "theirs.nii.gz"
    greedy(scene.dimension).execute(
        f"-rf {scene.fixed_file} -ri LINEAR -rm {scene.moving_file} {result} -r {chain} -threads 1 -V 0"
    )
    return np.asarray(nephi.read_image(result).data)


@pytest.mark.parametrize(("name", "format"), [("w.nii.gz", "itk"), ("w.mha", "itk"), ("w.nii.gz", "slicer")])
def test_exports(scene: Scene, name: str, format: str) -> None:
    if (scene.dimension, format) == (2, "slicer"):
        pytest.skip("slicer is for 3-D images")
    scene.require_equal(warped(scene, str(scene.export(name, format))))


def test_fields_of_greedy(scene: Scene) -> None:
    nephi.write_image(nephi.resample(scene.moving, scene.grid, scene.deformation), scene.fixed_file)
    path = scene.folder / "greedy.nii.gz"
    greedy(scene.dimension).execute(
        f"-i {scene.fixed_file} {scene.moving_file} -m SSD -n 20x10 -s 1.5vox 0.7vox -o {path} -threads 1 -V 0"
    )
    ours, points = nephi.read_transform(Path(path)), scene.points_between()
    assert (ours(points) - points).norm(dim=-1).mean() > 0.3
    scene.require_equal(warped(scene, str(path)), ours)
