"""ANTs reads exports of nephi, and nephi reads files of ANTs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import nephi

from .scenes import Scene, to_lps

os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")


@pytest.fixture
def ants() -> Any:
    return pytest.importorskip("ants", reason="needs antspyx, of the extra `interop`")


def mapped(ants: Any, files: list[Path], points: Tensor) -> Tensor:
    import pandas

    d = points.shape[-1]
    table = pandas.DataFrame(to_lps(points).numpy(), columns=["x", "y", "z"][:d])
    moved = ants.apply_transforms_to_points(d, table, [str(f) for f in files], [False] * len(files))
    return to_lps(torch.tensor(moved[["x", "y", "z"][:d]].to_numpy(), dtype=torch.float64))


def warped(ants: Any, scene: Scene, files: list[Path]) -> np.ndarray:
    fixed, moving = (ants.image_read(str(f)) for f in (scene.fixed_file, scene.moving_file))
    # Explicitly not inverted: antspyx inverts an affine before a warp by default.
    flags = [False] * len(files)
    image = ants.apply_transforms(fixed, moving, [str(f) for f in files], "linear", whichtoinvert=flags)
    return np.asarray(image.numpy())


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("w.nii.gz", "itk"),
        ("w.nii", "itk"),
        ("w.mha", "itk"),
        ("w.nrrd", "itk"),
        ("w.nrrd", "nrrd"),
        ("w.nii.gz", "slicer"),
        ("w.h5", "h5"),
        ("w.tfm", "h5"),
    ],
)
def test_exports(ants: Any, scene: Scene, name: str, format: str) -> None:
    if (scene.dimension, format) == (2, "slicer"):
        pytest.skip("slicer is for 3-D images")
    path = scene.export(name, format)
    scene.require_equal(warped(ants, scene, [path]))
    ours, between, centres = nephi.read_transform(path), scene.points_between(), scene.voxel_centres()
    torch.testing.assert_close(mapped(ants, [path], between), ours(between), rtol=0, atol=1e-3)
    torch.testing.assert_close(mapped(ants, [path], centres), scene.deformation(centres), rtol=0, atol=1e-3)


def test_affine_exports(ants: Any, scene: Scene) -> None:
    d = scene.dimension
    matrix = torch.eye(d + 1, dtype=torch.float64)
    matrix[:d] += 0.05 * torch.randn(d, d + 1, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    affine, points = nephi.AffineTransform(matrix), scene.points_between()
    for name, format in (("a.mat", "itk"), ("a.h5", "h5")):
        nephi.export_transform(affine, scene.grid, scene.folder / name, format)
        scene.require_equal(warped(ants, scene, [scene.folder / name]), affine)
        torch.testing.assert_close(mapped(ants, [scene.folder / name], points), affine(points), rtol=0, atol=1e-3)


def test_the_order_of_a_chain(ants: Any, oblique: Scene) -> None:
    """Points of the reference are mapped by the first transform of ANTs' list first: `[warp, affine]`."""
    warp, shift = oblique.export("w.nii.gz", "itk"), oblique.folder / "shift.mat"
    nephi.io.write_affine(shift, nephi.AffineTransform.translation(torch.tensor([4.0, -3.0, 2.0])))
    for files in ([warp, shift], [shift, warp]):
        ours = nephi.Composite([nephi.read_transform(f) for f in files])
        oblique.require_equal(warped(ants, oblique, files), ours)
        points = oblique.points_between()
        torch.testing.assert_close(mapped(ants, files, points), ours(points), rtol=0, atol=1e-3)


@pytest.mark.parametrize("composite", [False, True], ids=["files", "composite"])
def test_registrations_of_ants(ants: Any, scene: Scene, composite: bool) -> None:
    target = nephi.resample(scene.moving, scene.grid, scene.deformation)
    nephi.write_image(target, scene.fixed_file)
    fixed, moving = (ants.image_read(str(f)) for f in (scene.fixed_file, scene.moving_file))
    result = ants.registration(
        fixed,
        moving,
        "SyN",
        aff_metric="meansquares",
        aff_random_sampling_rate=1.0,
        outprefix=str(scene.folder / "ants_"),
        aff_iterations=(20,),
        aff_shrink_factors=(1,),
        aff_smoothing_sigmas=(0,),
        reg_iterations=(10,),
        random_seed=1,
        write_composite_transform=composite,
    )
    if composite:
        files = [scene.folder / "ants_Composite.h5"]
    else:
        files = [Path(f) for f in result["fwdtransforms"]]
        assert [f.name for f in files] == ["ants_1Warp.nii.gz", "ants_0GenericAffine.mat"]
    ours, points = nephi.Composite([nephi.read_transform(f) for f in files]), scene.points_between()
    assert (ours(points) - points).norm(dim=-1).mean() > 0.3
    scene.require_equal(warped(ants, scene, files), ours)
    torch.testing.assert_close(mapped(ants, files, points), ours(points), rtol=0, atol=1e-3)


def test_the_order_of_the_command_line(ants: Any, oblique: Scene) -> None:
    """`nephi apply -t A -t B` is `antsApplyTransforms -t A -t B`."""
    from nephi.cli.main import main

    warp, shift, out = oblique.export("w.nii.gz", "itk"), oblique.folder / "shift.mat", oblique.folder / "out.nii.gz"
    nephi.io.write_affine(shift, nephi.AffineTransform.translation(torch.tensor([4.0, -3.0, 2.0])))
    for files in ([warp, shift], [shift, warp]):
        chain = [word for file in files for word in ("-t", str(file))]
        images = ["-i", str(oblique.moving_file), "-r", str(oblique.fixed_file), "-o", str(out)]
        with pytest.raises(SystemExit, match="0"):
            main(["apply", *chain, *images])
        ours = nephi.Composite([nephi.read_transform(f) for f in files])
        oblique.require_equal(nephi.read_image(out).data, ours)
        oblique.require_equal(warped(ants, oblique, files), ours)
