"""Label maps of all voxel types: ids beyond 2^24 are preserved by every command, and results keep the voxel type."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from .conftest import Call

IDS = (0, 315, 312_782_560, 312_782_561, 614_454_277, 614_454_278, 614_454_290)
WIDE = {"int64": 2**53 + 1, "uint64": 2**62 + 3, "uint32": 2**32 - 1, "float64": 2**53 - 1}
TYPES = ("float64", "float32", "int32", "uint32", "int64", "uint64")
AFFINE = np.diag([2.0, 2.0, 2.5, 1.0])


def label_map(dtype: str) -> np.ndarray:
    """Return oblique layers of labels, among them a very large one for the type; float32 rounds them to 64."""
    ids = np.array([*IDS[:-1], WIDE.get(dtype, IDS[-1])], dtype)
    i, j, k = np.indices((12, 10, 8))
    return ids[(i + 2 * j + k) // 6 % len(ids)]


def save(path: Path, voxels: np.ndarray) -> Path:
    """Write labels without changing their type; NIfTI by nibabel, other formats by SimpleITK."""
    if path.name.endswith((".nii", ".nii.gz")):
        nibabel.save(nibabel.Nifti1Image(voxels, AFFINE, dtype=voxels.dtype), path)
    else:
        image = sitk.GetImageFromArray(voxels.T)
        image.SetSpacing(AFFINE.diagonal()[:3].tolist())
        sitk.WriteImage(image, str(path))
    return path


def load(path: Path) -> np.ndarray:
    """Return the voxels as stored."""
    if path.name.endswith((".nii", ".nii.gz")):
        return np.asarray(nibabel.load(path).dataobj)
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    """A file of the identity transform."""
    path = tmp_path / "identity.tfm"
    sitk.WriteTransform(sitk.TranslationTransform(3), str(path))
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd"])
@pytest.mark.parametrize("dtype", TYPES)
def test_ids_and_type_are_preserved(dtype: str, suffix: str, succeed: Call, tmp_path: Path) -> None:
    path, out = save(tmp_path / f"labels{suffix}", label_map(dtype)), tmp_path / f"out{suffix}"
    for interpolation in ("label", "nearest"):
        succeed("apply", "-t", "identity", "-i", path, "-r", path, "-o", out, "--interpolation", interpolation)
        written = load(out)
        assert written.dtype == dtype
        np.testing.assert_array_equal(written, load(path))


@pytest.mark.parametrize("dtype", TYPES)
def test_ids_of_a_series_are_preserved(dtype: str, succeed: Call, tmp_path: Path) -> None:
    small = np.ones((12, 10, 8), dtype)  # whose values would fit into a smaller type than those of the next volume
    path, out = tmp_path / "series.nii.gz", tmp_path / "out.nii.gz"
    reference = save(tmp_path / "reference.nii", small)
    save(path, np.stack([small, label_map(dtype)], axis=-1))
    succeed("apply", "-t", "identity", "-i", path, "-r", reference, "-o", out, "--interpolation", "label")
    assert load(out).dtype == dtype
    np.testing.assert_array_equal(load(out), load(path))


@pytest.mark.parametrize("dtype", TYPES)
def test_dice_of_every_label(dtype: str, identity: Path, succeed: Call, tmp_path: Path) -> None:
    path, table = save(tmp_path / "labels.nii.gz", label_map(dtype)), tmp_path / "table.json"
    files = ["--fixed-labels", path, "--moving-labels", path]
    succeed("evaluate", "-t", identity, *files, "--json", table)
    expected = {str(int(label)): 1.0 for label in np.unique(label_map(dtype)) if label}
    assert json.loads(table.read_text(encoding="utf-8"))["dice"]["labels"] == expected


def test_nan_in_labels_is_named(identity: Path, call: Call, tmp_path: Path) -> None:
    voxels = label_map("float32")
    path = save(tmp_path / "labels.nii.gz", voxels)
    voxels[1, 2, 3] = np.nan
    wrong = save(tmp_path / "wrong.nii.gz", voxels)
    outcome = call("evaluate", "-t", identity, "--fixed-labels", path, "--moving-labels", wrong)
    assert outcome.code == 3
    assert f"{wrong}: expected whole numbers of 0 or more as labels, found NaN at 1 voxel(s)" in outcome.err


def test_numbers_beyond_int64_are_rejected(call: Call, tmp_path: Path) -> None:
    voxels = label_map("uint64")
    voxels[0, 0, 0] = 2**64 - 1
    for path in (save(tmp_path / "labels.nii.gz", voxels), save(tmp_path / "labels.mha", voxels)):
        outcome = call("apply", "-t", "identity", "-i", path, "-r", path, "-o", tmp_path / "out.nii.gz")
        assert outcome.code == 3
        assert f"{path}: expected whole numbers below 2^63, found 18446744073709551615" in outcome.err
