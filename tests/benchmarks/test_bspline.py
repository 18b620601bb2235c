"""The B-spline fit that nephi is compared with: its spline is exact, and it finds a known shift."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import SimpleITK as sitk
import torch

Script = Callable[[str], ModuleType]
EDGES = (70.0, 45.0, 96.0)  # mm; none is a multiple of all spacings


@pytest.mark.parametrize("dimension", [2, 3])
def test_weights_sum_to_one_and_reproduce_lines(script: Script, dimension: int) -> None:
    """A cubic B-spline of control points on a line is that line, up to the ends of the image."""
    module = script("peers/run_bspline.py")
    for spacing in module.SPACINGS_MM:
        lattice = module.Lattice(EDGES[:dimension], spacing)
        for axis in range(dimension):
            weights = lattice.weights(axis, 37)
            assert torch.allclose(weights.sum(dim=1), torch.ones(37), atol=1e-6) and (weights >= 0).all()
            places = (torch.arange(lattice.shape[axis], dtype=torch.float32) - 1) * spacing
            centres = (torch.arange(37, dtype=torch.float32) + 0.5) * EDGES[axis] / 37
            assert torch.allclose(weights @ places, centres, atol=1e-4)


@pytest.mark.parametrize("dimension", [2, 3])
def test_refinement_keeps_the_displacement(script: Script, dimension: int) -> None:
    module = script("peers/run_bspline.py")
    edges, shape = EDGES[:dimension], (11, 23, 17)[:dimension]
    lattice = module.Lattice(edges, 16.0)
    controls = torch.randn(dimension, *lattice.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    fine = module.along_axes(controls, [lattice.refinement(axis) for axis in range(dimension)])
    halved = module.Lattice(edges, 8.0)
    assert fine.shape[1:] == halved.shape
    assert torch.allclose(module.dense(fine, halved, shape), module.dense(controls, lattice, shape), atol=1e-5)


def test_variation_is_the_slope(script: Script) -> None:
    """Of a displacement that grows by 0.1 mm per mm along one axis; the last control points have no difference."""
    module = script("peers/run_bspline.py")
    lattice = module.Lattice(EDGES, 8.0)
    places = torch.arange(lattice.shape[0], dtype=torch.float32) * 8.0
    controls = torch.zeros(3, *lattice.shape, dtype=torch.float32)
    controls[1] = 0.1 * places[:, None, None] / (EDGES[1] / 2)  # y along the first axis, z
    inner = (np.hypot(0.1, module.ROUNDING) - module.ROUNDING) * (lattice.shape[0] - 1) / lattice.shape[0]
    assert float(module.variation(controls, lattice)) == pytest.approx(inner, rel=1e-4)
    assert float(module.variation(torch.ones_like(controls), lattice)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("dimension", [2, 3])
def test_a_known_shift_is_found(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dimension: int
) -> None:
    """From files to the field, LPS mm, on a turned, anisotropic grid."""
    module = script("peers/run_bspline.py")
    shape, spacing = (40, 36, 30)[:dimension], (1.5, 2.0, 2.5)[:dimension]
    shift = np.array([2.0, -1.5, 1.0])[:dimension]
    direction = np.eye(dimension)
    direction[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    grid = sitk.Image(shape, sitk.sitkFloat64)
    grid.SetSpacing(spacing)
    grid.SetDirection(direction.ravel().tolist())
    points = sitk.GetArrayFromImage(sitk.PhysicalPointSource(sitk.sitkVectorFloat64, *_geometry(grid)))
    waves = np.random.default_rng(0).normal(size=(12, dimension)) * 0.25
    for name, moved in (("fixed", points), ("moving", points - shift)):
        image = sitk.GetImageFromArray(np.sin(moved @ waves.T + np.arange(12)).sum(axis=-1).astype(np.float32))
        image.CopyInformation(grid)
        sitk.WriteImage(image, tmp_path / f"{name}.nii.gz")
    names = [str(tmp_path / name) for name in ("fixed.nii.gz", "moving.nii.gz")]
    words = ["run_bspline.py", *names, "none", "none", str(tmp_path / "field.mha"), "--iterations", "250"]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setattr(module.torch, "set_num_threads", lambda _: None)
    module.main()
    field = sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "field.mha"))
    inner = field[tuple(slice(6, -6) for _ in range(dimension))]
    assert np.abs(inner - shift).max() < 0.2


def _geometry(image: sitk.Image) -> tuple[tuple[float, ...], ...]:
    return image.GetSize(), image.GetOrigin(), image.GetSpacing(), image.GetDirection()
