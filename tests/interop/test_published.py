"""The published programs register pairs with networks of random weights; nephi does the same from their files.

They run in an environment of their own, whose Python the variable NEPHI_PUBLISHED_PYTHON names;
`requirements-published.txt` describes how to make it. Images lie along the axes of the world (LPS), because
uniGradICON's result depends on the order of the stored array.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import nephi
from nephi.geometry import Grid
from nephi.images import Image
from nephi.models import ImportOptions, import_published

VARIABLE = "NEPHI_PUBLISHED_PYTHON"
ICON_SHAPE = (66, 70, 75)  # z, y, x
KEYMORPH_SHAPE = (64, 48, 56)
VOXEL = 1e-4


def run(program: str, *arguments: object) -> None:
    """Run one of the programs in this folder by the Python of the published packages."""
    python = os.environ.get(VARIABLE)
    if not python:
        pytest.skip(f"needs {VARIABLE}: a Python with the packages of tests/interop/requirements-published.txt")
    command = [python, str(Path(__file__).with_name(program)), *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stderr[-2000:]


def smooth_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    coarse = torch.rand(1, 1, 8, 7, 9, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, size=shape, mode="trilinear")[0, 0]


def lps_image(shape: tuple[int, ...], spacing: tuple[float, ...], seed: int) -> Image:
    """Return an image in Hounsfield units, stored along left, posterior, superior, some of it beyond the CT window."""
    affine = torch.diag(torch.tensor([-spacing[0], -spacing[1], spacing[2], 1.0], dtype=torch.float64))
    affine[:-1, -1] = torch.tensor([40.0, 25.0, -310.0])
    return Image((2600 * smooth_noise(shape, seed) - 1300).to(torch.int16), Grid(shape, affine))


def test_unigradicon(tmp_path: Path) -> None:
    """The same positions at the nodes of its field, and the same warped image, whose grid has these nodes."""
    images = {
        "fixed": lps_image(ICON_SHAPE[::-1], (1.5, 1.2, 2.1), 0),
        "moving": lps_image((61, 80, 50), (1.9, 1.1, 2.5), 1),
    }
    for name, image in images.items():
        nephi.write_image(image, tmp_path / f"{name}.nii.gz")
    run("published_icon.py", "pair", tmp_path)
    stored = import_published("unigradicon", tmp_path / "weights.trch", ImportOptions(modality="ct", shape=ICON_SHAPE))
    result = nephi.predict(tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz", model=stored)
    points, mapped = (torch.from_numpy(np.load(tmp_path / f"{name}.npy")) for name in ("points", "mapped"))
    to_ras = torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64)
    moving_grid = images["moving"].grid
    network_voxels = torch.tensor(ICON_SHAPE[::-1]) / torch.tensor(moving_grid.shape)  # of a voxel of the moving image
    difference = moving_grid.world_to_voxel_vectors(result.transform(points * to_ras) - mapped * to_ras)
    assert float((difference * network_voxels).abs().max()) < VOXEL
    assert float((mapped - points).norm(dim=-1).mean()) > 3.0
    theirs = torch.from_numpy(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "warped.nii.gz"))).T.astype("f4"))
    warped = nephi.resample(images["moving"], images["fixed"].grid, result.transform)
    # They round to whole Hounsfield units, and rounding decides what lies outside at the border of the moving image.
    assert float(((warped.data - theirs).abs() > 1).float().mean()) < 1e-3
    assert float(theirs.std()) > 100


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("conv", ("conv", "instance", 0)),
        ("conv-none", ("conv", "none", 0)),
        ("conv-group", ("conv", "group", 0)),
        ("conv-batch", ("conv", "batch", 0)),
        ("unet", ("unet", "group", 0)),
        ("truncatedunet", ("unet", "group", 1)),
    ],
)
def test_keymorph(name: str, settings: tuple[object, ...], tmp_path: Path) -> None:
    """The same keypoints and maps; the same warped image once its half-pixel sampling is done as well."""
    images = {key: smooth_noise(KEYMORPH_SHAPE, seed)[None, None] for key, seed in (("fixed", 2), ("moving", 3))}
    save_file(images, tmp_path / "images.safetensors")
    run("published_keymorph.py", tmp_path, name)
    expected = load_file(tmp_path / f"{name}.safetensors")
    weighting = "equal" if name in ("conv", "unet") else "power"
    options = ImportOptions(shape=KEYMORPH_SHAPE, weighting=weighting)
    stored = import_published("keymorph", tmp_path / f"{name}.pth.tar", options)
    model, grid = stored.model, stored.model.grid
    assert (stored.settings.backbone, stored.settings.normalization, stored.settings.left_out) == settings
    last = torch.tensor(KEYMORPH_SHAPE) - 1.0
    nodes = grid.voxel_centres().double().reshape(1, -1, 3)
    with torch.no_grad():
        for key in ("fixed", "moving"):
            keypoints = grid.world_to_voxel_points(model.keypoints(images[key]).points)
            assert float((keypoints - (expected[f"{key}_points"] + 1) / 2 * last).abs().max()) < VOXEL
        kinds = [key.removesuffix(".grid") for key in expected if key.endswith(".grid")]
        maps = model.alignments(images["fixed"], images["moving"], [kind.replace("_", ":") for kind in kinds])
        for kind in kinds:
            mapped = grid.world_to_voxel_points(maps[kind.replace("_", ":")].forward(nodes))
            theirs = (expected[f"{kind}.grid"].flip(-1).reshape(1, -1, 3).double() + 1) / 2 * last
            # It solves in single precision, interpolating splines of keypoints that are close together badly.
            tolerance = 2e-2 if kind == "tps_0" else 3 * VOXEL
            assert float((mapped - theirs).abs().max()) < tolerance, kind
            # grid_sample takes -1 for the outer border of the first voxel: its images are enlarged by n / (n - 1).
            sampled = (mapped / last * 2).reshape(1, *KEYMORPH_SHAPE, 3) - 1
            warped = nn.functional.grid_sample(
                images["moving"], sampled.flip(-1).float(), padding_mode="border", align_corners=False
            )
            assert float((warped - expected[f"{kind}.warped"]).abs().max()) < 1e-3, kind
