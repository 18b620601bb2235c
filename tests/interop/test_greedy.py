"""greedy reads exports of nephi, and nephi reads files of greedy."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nephi

from .scenes import Scene

PROGRAM = "import sys, picsl_greedy; getattr(picsl_greedy, sys.argv[1])().execute(sys.argv[2])"


def greedy(dimension: int, arguments: str) -> None:
    """Run greedy in a separate process: its copy of ITK conflicts with that of other tools."""
    if importlib.util.find_spec("picsl_greedy") is None:
        pytest.skip("needs picsl-greedy, of the extra `interop`")
    arguments = f"{arguments} -threads 1 -V 0"
    subprocess.run([sys.executable, "-c", PROGRAM, f"Greedy{dimension}D", arguments], check=True, capture_output=True)


def warped(scene: Scene, chain: str) -> np.ndarray:
    result = scene.folder / "theirs.nii.gz"
    greedy(scene.dimension, f"-rf {scene.fixed_file} -ri LINEAR -rm {scene.moving_file} {result} -r {chain}")
    return np.asarray(nephi.read_image(result).data)


@pytest.mark.parametrize(
    ("name", "format"),
    [(f"w{s}", "itk") for s in (".nii.gz", ".nii", ".mha", ".nrrd")] + [("w.nii.gz", "slicer")],
)
def test_exports(scene: Scene, name: str, format: str) -> None:
    if (scene.dimension, format) == (2, "slicer"):
        pytest.skip("slicer is for 3-D images")
    scene.require_equal(warped(scene, str(scene.export(name, format))))


def test_fields_of_greedy(scene: Scene) -> None:
    nephi.write_image(nephi.resample(scene.moving, scene.grid, scene.deformation), scene.fixed_file)
    path = scene.folder / "greedy.nii.gz"
    greedy(scene.dimension, f"-i {scene.fixed_file} {scene.moving_file} -m SSD -n 20x10 -s 1.5vox 0.7vox -o {path}")
    ours, points = nephi.read_transform(Path(path)), scene.points_between()
    assert (ours(points) - points).norm(dim=-1).mean() > 0.3
    scene.require_equal(warped(scene, str(path)), ours)
