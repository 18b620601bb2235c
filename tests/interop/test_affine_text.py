"""Affine maps of FLIRT, greedy and FreeSurfer, against fslpy, greedy itself, and the files of nitransforms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nephi

from .scenes import Scene, make_scene
from .test_fsl import images, other_moving
from .test_greedy import warped


def affine(dimension: int, amount: float = 0.1) -> nephi.AffineTransform:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.eye(dimension + 1, dtype=torch.float64)
    matrix[:-1, :-1] += amount * torch.randn(dimension, dimension, generator=generator, dtype=torch.float64)
    matrix[:-1, -1] = torch.tensor([2.0, -3.0, 1.5][:dimension], dtype=torch.float64)
    return nephi.AffineTransform(matrix)


@pytest.mark.parametrize("moving_kind", ["same", "left-handed", "RAS"])
@pytest.mark.parametrize("kind", ["RAS", "LPS", "left-handed", "oblique"])
def test_flirt(tmp_path: Path, kind: str, moving_kind: str) -> None:
    flirt = pytest.importorskip("fsl.transform.flirt", reason="needs fslpy, of the extra `interop`")
    scene = make_scene(kind, tmp_path)
    scene = scene if moving_kind == "same" else other_moving(scene, moving_kind)
    fixed, moving = images(scene)
    matrix = affine(3).matrix.numpy()
    flirt.writeFlirt(matrix, str(tmp_path / "flirt.mat"))
    expected = np.linalg.inv(flirt.fromFlirt(matrix, moving, fixed, "world", "world"))
    ours = nephi.read_transform(tmp_path / "flirt.mat", nephi.io.FieldConvention("fsl", scene.grid, scene.moving.grid))
    assert isinstance(ours, nephi.AffineTransform)
    np.testing.assert_allclose(ours.matrix, expected, rtol=0, atol=1e-4)  # of the images' headers, in float32


def test_greedy(scene: Scene) -> None:
    transform = affine(scene.dimension, 0.05)
    path = scene.folder / "affine.mat"
    np.savetxt(path, transform.matrix.numpy())
    ours = nephi.read_transform(path, nephi.io.FieldConvention("greedy"))
    scene.require_equal(warped(scene, str(path)), ours)


PAIRS = ("fsnative_to-bold", "fsnative_to-scanner", "scanner_to-bold", "scanner_to-fsnative")


@pytest.fixture
def files_of_freesurfer() -> Path:
    """LTA files of FreeSurfer's programs, and their conversions to ITK by lta_convert."""
    module: Any = pytest.importorskip("nitransforms", reason="needs nitransforms, of the extra `interop`")
    folder = Path(module.__file__).parent / "tests" / "data" / "regressions"
    if not (folder / f"from-{PAIRS[0]}_mode-image.lta").is_file():
        pytest.skip("needs the test data that nitransforms is installed with")
    return folder


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("kind", ["", "_type-ras2ras"])
def test_freesurfer(files_of_freesurfer: Path, pair: str, kind: str) -> None:
    path = files_of_freesurfer / f"from-{pair}_mode-image{kind}.lta"
    if not path.is_file():
        pytest.skip("is of the type RAS to RAS already")
    ours = nephi.read_transform(path)
    theirs = nephi.read_transform(files_of_freesurfer / f"from-{pair}_mode-image.tfm")
    assert isinstance(ours, nephi.AffineTransform) and isinstance(theirs, nephi.AffineTransform)
    torch.testing.assert_close(ours.matrix, theirs.matrix, rtol=0, atol=1e-4)
