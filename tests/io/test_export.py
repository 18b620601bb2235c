"""Export of transforms to other tools, and its errors."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.io import FORMATS, FieldConvention, export_transform, read_displacement, read_foreign_transform
from nephi.transforms import AffineTransform, Composite, DisplacementField, Transform

FIELDS = [
    ("w.nii.gz", "itk"),
    ("w.nii", "itk"),
    ("w.mha", "itk"),
    ("w.nrrd", "itk"),
    ("w.nrrd", "nrrd"),
    ("w.h5", "h5"),
    ("w.hdf5", "h5"),
    ("w.tfm", "h5"),
]
FIELDS_3D = [("w.nii.gz", "slicer"), ("w.nii.gz", "learn2reg"), ("w.nii", "learn2reg"), ("w.nii.gz", "fsl")]


class Bend(Transform):
    """A smooth motion of some millimetres, different along every axis."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension

    @property
    def dimension(self) -> int:
        return self._dimension

    def __call__(self, points: Tensor) -> Tensor:
        return points + 3 * torch.sin(points * self._rates(points))

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        rates = self._rates(points)
        return self(points), torch.diag_embed(1 + 3 * rates * torch.cos(points * rates))

    def _rates(self, points: Tensor) -> Tensor:
        return torch.tensor([0.31, 0.17, 0.23])[: self._dimension].to(points)


def back(path: Path, format: str) -> Transform:
    named = FieldConvention(format) if format in ("learn2reg", "fsl") else None
    return read_foreign_transform(path, named)


def require_same(path: Path, format: str, grid: Grid) -> None:
    centres = grid.voxel_centres().double()
    torch.testing.assert_close(back(path, format)(centres), Bend(grid.dimension)(centres), rtol=0, atol=1e-3)


@pytest.mark.parametrize(("name", "format"), FIELDS)
def test_round_trip(tmp_path: Path, grid: Grid, name: str, format: str) -> None:
    export_transform(Bend(grid.dimension), grid, tmp_path / name, format)
    require_same(tmp_path / name, format, grid)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(("name", "format"), FIELDS_3D)
def test_round_trip_in_3d(tmp_path: Path, grid_3d: Grid, name: str, format: str) -> None:
    export_transform(Bend(3), grid_3d, tmp_path / name, format)
    require_same(tmp_path / name, format, grid_3d)


def test_the_number_of_slabs_has_no_effect(tmp_path: Path, grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, format in FIELDS:
        export_transform(Bend(grid.dimension), grid, tmp_path / name, format)
    monkeypatch.setattr(Grid, "slabs", lambda self: ((k, k + 1) for k in range(self.shape[-1])))
    for name, format in FIELDS:
        export_transform(Bend(grid.dimension), grid, tmp_path / f"thin_{name}", format)
        whole, thin = (back(tmp_path / n, format) for n in (name, f"thin_{name}"))
        points = grid.voxel_centres().double()
        torch.testing.assert_close(whole(points), thin(points), rtol=0, atol=1e-6)


def test_layouts(tmp_path: Path, grid_3d: Grid) -> None:
    """Shape, intent and unit of the vectors."""
    points = grid_3d.voxel_centres().double()
    moved = Bend(3)(points)
    voxels = grid_3d.world_to_voxel_vectors(moved - points)
    flipped = (moved - points) * torch.tensor([-1.0, -1.0, 1.0])
    # The grid is left-handed: FSL takes its first axis as it is.
    expected = {
        "itk": (1007, (7, 5, 6, 1, 3), flipped),
        "slicer": (1006, (7, 5, 6, 1, 3), moved - points),
        "learn2reg": (0, (7, 5, 6, 3), voxels),
        "fsl": (2006, (7, 5, 6, 3), voxels * grid_3d.spacing),
    }
    for format, (intent, shape, vectors) in expected.items():
        export_transform(Bend(3), grid_3d, tmp_path / "w.nii.gz", format)
        image = nibabel.load(tmp_path / "w.nii.gz")
        assert isinstance(image, nibabel.Nifti1Image)
        header = image.header
        assert (header["intent_code"], image.shape) == (intent, shape)
        assert (header["qform_code"], header["sform_code"]) == (1, 1)
        np.testing.assert_allclose(header.get_sform(), grid_3d.affine, atol=1e-4)
        np.testing.assert_allclose(np.asarray(image.dataobj).reshape(vectors.shape), vectors, atol=6e-4)


@pytest.mark.parametrize(("name", "format"), [("a.h5", "h5"), ("a.tfm", "h5"), ("a.mat", "itk"), ("a.txt", "itk")])
def test_affine_maps_stay_affine(tmp_path: Path, grid: Grid, name: str, format: str) -> None:
    shift = AffineTransform.translation(torch.arange(1.0, grid.dimension + 1))
    chain = Composite([shift, Composite([shift, shift])])
    export_transform(chain, grid, tmp_path / name, format)
    read = read_foreign_transform(tmp_path / name)
    assert not isinstance(read, DisplacementField)
    far = torch.full((1, grid.dimension), 1e6, dtype=torch.float64)
    torch.testing.assert_close(read(far), chain(far), rtol=0, atol=1e-6)
    assert sitk.ReadTransform(str(tmp_path / name)).IsLinear()


def test_affine_maps_as_fields(tmp_path: Path, grid_3d: Grid) -> None:
    shift = AffineTransform.translation(torch.tensor([1.0, 2.0, 3.0]))
    export_transform(shift, grid_3d, tmp_path / "w.nii.gz", "learn2reg")
    assert isinstance(back(tmp_path / "w.nii.gz", "learn2reg"), DisplacementField)


def test_fsl_between_two_grids(tmp_path: Path, grid_3d: Grid) -> None:
    moving = Grid.from_spacing((9, 8, 7), (2.0, 1.0, 3.0), (-40.0, 30.0, 800.0))
    export_transform(Bend(3), grid_3d, tmp_path / "w.nii.gz", "fsl", moving)
    read = read_displacement(tmp_path / "w.nii.gz", FieldConvention("fsl", moving=moving))
    centres = grid_3d.voxel_centres().double()
    torch.testing.assert_close(read(centres), Bend(3)(centres), rtol=0, atol=1.5e-3)


def test_learn2reg_needs_one_grid(tmp_path: Path, grid_3d: Grid) -> None:
    export_transform(Bend(3), grid_3d, tmp_path / "w.nii.gz", "learn2reg", Grid(grid_3d.shape, grid_3d.affine))
    (tmp_path / "w.nii.gz").unlink()
    other = grid_3d.transformed(AffineTransform.translation(torch.tensor([0.0, 0.0, 1.0])).matrix)
    with pytest.raises(
        DataError,
        match=r"w\.nii\.gz: expected both images on one grid for the format learn2reg, found 7 x 5 x 6 voxels",
    ):
        export_transform(Bend(3), grid_3d, tmp_path / "w.nii.gz", "learn2reg", other)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["slicer", "learn2reg", "fsl"])
def test_formats_for_3d_only(tmp_path: Path, grid_2d: Grid, format: str) -> None:
    with pytest.raises(DataError, match=f"expected 3-D images for the format {format}, found 2-D"):
        export_transform(Bend(2), grid_2d, tmp_path / "w.nii.gz", format)


@pytest.mark.parametrize(("name", "format"), [*FIELDS, ("w.nii.gz", "slicer"), ("w.nii.gz", "fsl")])
def test_refused_exports_leave_no_file(
    tmp_path: Path, grid_3d: Grid, sheared_grid: Grid, name: str, format: str
) -> None:
    path = tmp_path / name
    path.write_text("old")
    with pytest.raises(DataError, match=r"w\..*perpendicular axes"):
        export_transform(Bend(3), sheared_grid, path, format)
    with pytest.raises(DataError, match=r"w\..*NaN or infinity"):
        export_transform(_Broken(3), grid_3d, path, format)
    with pytest.raises(DataError, match=r"w\..*expected a 2-D reference"):
        export_transform(Bend(2), grid_3d, path, format)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


class _Broken(Bend):
    def __call__(self, points: Tensor) -> Tensor:
        return torch.where(points[..., :1] > -30, points, torch.nan)


def test_wrong_usage(tmp_path: Path, grid_3d: Grid) -> None:
    with pytest.raises(UsageError, match=r"format: expected one of itk, .*, got 'minc'"):
        export_transform(Bend(3), grid_3d, tmp_path / "w.nii.gz", "minc")
    with pytest.raises(UsageError, match=r"FieldConvention: expected one of .*, got 'minc'"):
        FieldConvention("minc")
    for format in FORMATS:
        with pytest.raises(UsageError, match=rf"w\.png: expected \..* for the format {format}, got \.png"):
            export_transform(Bend(3), grid_3d, tmp_path / "w.png", format)
    with pytest.raises(DataError, match=r"w\.mat: expected an affine transform for \.mat, got a deformation"):
        export_transform(Bend(3), grid_3d, tmp_path / "w.mat", "itk")
    assert list(tmp_path.iterdir()) == []


def test_equal_transforms_give_equal_bytes(tmp_path: Path, grid_3d: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in ("nrrd", "mha", "nii.gz"):
        export_transform(Bend(3), grid_3d, tmp_path / f"a.{suffix}", "itk")
        monkeypatch.setattr("time.time", lambda: 2e9)
        export_transform(Bend(3), grid_3d, tmp_path / f"b.{suffix}", "itk")
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
