"""NIfTI headers with two positions or none: the grid is that of SimpleITK."""

import itertools
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.spatial.transform import Rotation

from nephi.errors import DataError, DataWarning, collected_warnings
from nephi.geometry import Grid
from nephi.geometry.frames import flip_matrix
from nephi.images import resample
from nephi.io import read_image, write_displacement
from nephi.io.itk import itk_warnings
from nephi.transforms import AffineTransform

SPACING = np.array([2.0, 3.0, 2.5])
TURNED = Rotation.from_euler("xyz", [10, -20, 35], degrees=True).as_matrix()
IN_PLANE = Rotation.from_euler("z", 25, degrees=True).as_matrix()
LEFT = np.diag([-1.0, 1.0, 1.0])


def matrix(directions: Any, spacing: Any = SPACING, origin: Any = (5.0, -7.0, 9.0)) -> Any:
    result = np.eye(4)
    result[:3, :3] = np.asarray(directions) * np.asarray(spacing)
    result[:3, 3] = origin
    return result


def save(
    path: Path, qform: Any, sform: Any, codes: tuple[int, int], shape: tuple[int, ...] = (12, 10, 8), **fields: Any
) -> Path:
    """Write a file of smooth voxels with these two matrices; `fields` overwrite header fields at the end."""
    header = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.float32)
    header.set_zooms(SPACING[: len(shape)])
    header.set_qform(qform, code=1)
    header.set_sform(sform, code=1)
    values = {"qform_code": codes[0], "sform_code": codes[1], "vox_offset": 352, "scl_slope": 1, "scl_inter": 0}
    for name, value in {**values, "xyzt_units": 2, "magic": b"n+1", **fields}.items():
        header[name] = value
    axes = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    voxels = 100 + sum(40 * np.sin(axis * (0.5 + 0.1 * i)) for i, axis in enumerate(axes))
    path.write_bytes(header.binaryblock + bytes(4) + np.asarray(voxels, np.float32).tobytes(order="F"))
    return path


def affine_of_itk(path: Path) -> Any:
    """Return the voxel-to-world matrix, in RAS, of SimpleITK's image of a file."""
    with itk_warnings():
        image = sitk.ReadImage(str(path))
    d = image.GetDimension()
    affine = np.eye(d + 1)
    affine[:d, :d] = np.reshape(image.GetDirection(), (d, d)) * image.GetSpacing()
    affine[:d, d] = image.GetOrigin()
    return flip_matrix(d).numpy() @ affine


def require_itk_grid(path: Path) -> list[str]:
    """Assert that the grids of nephi and SimpleITK are equal; return the warnings of nephi."""
    with collected_warnings() as texts:
        grid = read_image(path).grid
    found, expected = grid.affine.numpy(), affine_of_itk(path)
    if len(expected) == 4 and grid.dimension == 2:
        expected = expected[[0, 1, 3]][:, [0, 1, 3]]
    np.testing.assert_allclose(found, expected, atol=2e-3)
    return texts


QFORM, SHIFTED = matrix(TURNED), matrix(TURNED, origin=(15, -7, 9))
OTHER = {
    "turned": matrix(IN_PLANE @ TURNED),
    "shifted": SHIFTED,
    "mirrored": matrix(TURNED @ LEFT),
    "mirrored about its centre": matrix(TURNED @ LEFT, origin=(20, -7, 9)),
    "of other voxel sizes": matrix(TURNED, (1, 1, 1)),
    "sheared a little": matrix(TURNED @ (np.eye(3) + 5e-3 * np.eye(3, k=1))),
    "sheared by a gantry": matrix(TURNED @ (np.eye(3) + 0.3 * np.eye(3, k=1))),
    "zero": np.diag([0.0, 0, 0, 1]),
}


@pytest.mark.filterwarnings("ignore::nephi.errors.DataWarning")
@pytest.mark.parametrize("name", OTHER)
@pytest.mark.parametrize("codes", list(itertools.product((1, 2, 4), (1, 2, 3, 4))))
def test_two_positions(tmp_path: Path, name: str, codes: tuple[int, int]) -> None:
    for turned in (False, True):
        forms = (OTHER[name], QFORM) if turned and "shear" not in name and name != "zero" else (QFORM, OTHER[name])
        (text,) = require_itk_grid(save(tmp_path / "a.nii", *forms, codes))
        assert f"codes: qform {codes[0]}, sform {codes[1]}" in text
        assert "as in ITK" in text


@pytest.mark.filterwarnings("ignore::nephi.errors.DataWarning")
@pytest.mark.parametrize("fields", [
    {"pixdim": [1, 0, 0, 0, 1, 1, 1, 1]},
    {"pixdim": [1, -2, 3, 2.5, 1, 1, 1, 1]},
    {"pixdim": [-1, 2, -3, -2.5, 1, 1, 1, 1]},
    {"pixdim": [1, 2, np.nan, 2.5, 1, 1, 1, 1]},
    {"pixdim": [-2, 2, 3, 2.5, 1, 1, 1, 1]},
    {"pixdim": [7, 2, 3, 2.5, 1, 1, 1, 1]},
    {"quatern_b": 0.8, "quatern_c": 0.8, "quatern_d": 0.8},
    {"quatern_b": np.nan},
    {"qoffset_x": np.inf},
])  # fmt: skip
@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (1, 1), (1, 2), (0, 0)])
def test_unusual_fields(tmp_path: Path, codes: tuple[int, int], fields: dict[str, Any]) -> None:
    texts = require_itk_grid(save(tmp_path / "a.nii", QFORM, QFORM, codes, **fields))
    of_the_qform = np.array_equal(fields.get("pixdim", [1, *SPACING])[1:4], SPACING)
    assert bool(texts) == (codes != (0, 1) or not of_the_qform)


@pytest.mark.parametrize(
    ("codes", "shape"), [(c, s) for c in ((1, 1), (1, 2), (0, 3)) for s in ((12, 10, 8), (12, 10))]
)
@pytest.mark.parametrize("directions", [TURNED, TURNED @ LEFT, IN_PLANE, IN_PLANE @ LEFT])
def test_one_position_gives_no_warning(
    tmp_path: Path, directions: Any, codes: tuple[int, int], shape: tuple[int, ...]
) -> None:
    if len(shape) == 2 and directions[2, 2] != 1:
        pytest.skip("oblique slices are refused")
    path = save(tmp_path / "a.nii", matrix(directions), matrix(directions), codes, shape)
    assert require_itk_grid(path) == []


@pytest.mark.filterwarnings("ignore::nephi.errors.DataWarning")
@pytest.mark.parametrize("shape", [(12, 10), (12, 10, 1)])
@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (2, 0), (0, 2), (0, 0)])
@pytest.mark.parametrize("handed", [np.eye(3), LEFT])
def test_slices(tmp_path: Path, shape: tuple[int, ...], codes: tuple[int, int], handed: Any) -> None:
    other = matrix(IN_PLANE @ handed, origin=(9, 3, 20))
    path = save(tmp_path / "a.nii", matrix(handed), other, codes, shape)
    assert bool(require_itk_grid(path)) == (0 not in codes or codes == (0, 0))


def test_the_warning_states_the_distance(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", QFORM, SHIFTED, (1, 2))
    with pytest.warns(DataWarning, match=r"a\.nii: .* by the qform and the sform .* 10 mm apart .* qform is used"):
        read_image(path)


def test_tiny_differences_give_no_warning(tmp_path: Path) -> None:
    for matrix_ in (matrix(TURNED, origin=(5.01, -7, 9)), matrix(TURNED @ (np.eye(3) + 4e-4 * np.eye(3, k=1)))):
        with collected_warnings() as texts:
            grid = read_image(save(tmp_path / "a.nii", QFORM, matrix_, (1, 2))).grid
        assert texts == []
        np.testing.assert_allclose(
            grid.direction.T @ grid.direction, np.eye(3), atol=1e-4
        )  # writing a field requires this


def test_a_sheared_sform_without_a_qform_is_used(tmp_path: Path) -> None:
    sheared = OTHER["sheared a little"]
    path = save(tmp_path / "a.nii", QFORM, sheared, (0, 1))
    np.testing.assert_allclose(read_image(path).grid.affine, sheared, atol=1e-5)


@pytest.mark.parametrize("code", [0, 1, 2, 3, 5])
@pytest.mark.filterwarnings("ignore::nephi.errors.DataWarning")
def test_units(tmp_path: Path, code: int) -> None:
    texts = require_itk_grid(save(tmp_path / "a.nii", QFORM, QFORM, (1, 1), xyzt_units=code))
    assert [("micrometre" in text, "metre" in text) for text in texts] == {1: [(False, True)], 3: [(True, True)]}.get(
        code, []
    )


@pytest.mark.filterwarnings("ignore::nephi.errors.DataWarning")
@pytest.mark.parametrize("value", [1e30, 3e38, -1e20, 1e-30, 1e-40])
@pytest.mark.parametrize("field", ["pixdim", "srow_x", "qoffset_x", "quatern_b"])
def test_huge_numbers_terminate(tmp_path: Path, field: str, value: float) -> None:
    """ITK's decomposition of such a matrix does not terminate."""
    path = save(tmp_path / "a.nii", QFORM, QFORM, (1, 2))
    contents = bytearray(path.read_bytes())
    start = {"pixdim": 80, "srow_x": 284, "qoffset_x": 268, "quatern_b": 256}[field]
    contents[start : start + 4] = np.float32(value).tobytes()
    path.write_bytes(contents)
    try:
        assert np.isfinite(read_image(path).grid.affine.numpy()).all()
    except DataError as error:
        assert str(error).startswith(f"{path}: ")


def test_nan_in_the_sform_selects_the_qform(tmp_path: Path) -> None:
    broken = matrix(TURNED)
    broken[1, 1] = np.nan
    with pytest.warns(DataWarning, match="the sform holds NaN or infinity; the qform is used"):
        grid = read_image(save(tmp_path / "a.nii", QFORM, broken, (1, 1))).grid
    np.testing.assert_allclose(grid.affine, QFORM, atol=1e-5)
    with pytest.raises(DataError, match=r"a\.nii: the voxel-to-world affine holds NaN"):
        read_image(save(tmp_path / "a.nii", QFORM, broken, (0, 1)))


@pytest.mark.filterwarnings("ignore::nephi.errors.DataWarning")
@pytest.mark.parametrize(("other", "codes"), [("turned", (1, 2)), ("shifted", (1, 4)), ("turned", (0, 0))])
def test_simpleitk_applies_our_fields_to_such_files(tmp_path: Path, other: str, codes: tuple[int, int]) -> None:
    path = save(tmp_path / "a.nii", QFORM, OTHER[other], codes, (24, 20, 16))
    image = read_image(path)
    centre = image.grid.centre_world()
    linear = torch.from_numpy(np.eye(4))
    linear[:3, :3] += 0.05 * torch.tensor([[0.0, 1, 0], [-1, 0, 0.5], [0.3, 0, 0]])
    linear[:3, 3] = centre - linear[:3, :3] @ centre + torch.tensor([1.5, -2.0, 1.0])
    transform = AffineTransform(linear)
    write_displacement(tmp_path / "warp.nii.gz", transform, image.grid)
    ours = resample(image, image.grid, transform)
    itk_image = sitk.ReadImage(str(path))
    field = sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "warp.nii.gz"), sitk.sitkVectorFloat64))
    theirs = sitk.GetArrayFromImage(sitk.Resample(itk_image, itk_image, field, sitk.sitkLinear, 0.0)).T
    inside = (slice(4, -4),) * 3
    np.testing.assert_allclose(ours.data.numpy()[inside], theirs[inside], atol=0.1)
    assert np.abs(theirs - sitk.GetArrayFromImage(itk_image).T)[inside].mean() > 5


@pytest.mark.filterwarnings("ignore::nephi.errors.DataWarning")
def test_nifti_2(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", QFORM, OTHER["turned"], (1, 2))
    image: Any = nibabel.load(tmp_path / "a.nii")
    second = nibabel.Nifti2Image(np.asarray(image.dataobj), None)
    second.header.set_qform(QFORM, 1)
    second.header.set_sform(OTHER["turned"], 2)
    second.header.set_xyzt_units("mm")
    nibabel.save(second, tmp_path / "b.nii")
    grid: Grid = read_image(tmp_path / "b.nii").grid
    assert grid.same_as(read_image(tmp_path / "a.nii").grid)


@pytest.mark.filterwarnings("error", "ignore::nephi.errors.DataWarning")
@pytest.mark.parametrize(("field", "value"), [("sform_code", 2**17), ("qform_code", -(2**31)), ("qoffset_x", 1e300)])
def test_numbers_out_of_the_range_of_nifti_1(tmp_path: Path, field: str, value: float) -> None:
    image = nibabel.Nifti2Image(np.zeros((3, 4, 5), np.float32), matrix(TURNED))
    image.header.set_qform(matrix(np.eye(3)), code=1)
    image.header[field] = value
    nibabel.save(image, tmp_path / "a.nii")
    assert read_image(tmp_path / "a.nii").grid.shape == (3, 4, 5)


@pytest.mark.filterwarnings("ignore::nephi.errors.DataWarning")
@pytest.mark.parametrize("code", [0, 1])
def test_an_sform_for_which_itk_does_not_terminate(tmp_path: Path, code: int) -> None:
    rows = {"srow_x": [0, 0, 0, np.inf], "srow_y": [0, 0, 0, 0], "srow_z": [0, 0, 0, 0]}
    path = save(tmp_path / "a.nii", QFORM, QFORM, (code, 2), **rows)
    if code == 0:
        with pytest.raises(DataError, match=r"a\.nii: "):
            read_image(path)
    else:
        np.testing.assert_allclose(read_image(path).grid.affine, QFORM, atol=1e-5)
