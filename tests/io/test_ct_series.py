"""Synthetic CT written as a DICOM series: read back by nephi and by ITK, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.images import Image
from nephi.io import SeriesDescription, read_image, write_ct_series

ABOUT = SeriesDescription("phantom-0", "CT chest exhale")


@pytest.fixture
def image(grid_3d: Grid) -> Image:
    affine = grid_3d.affine.clone()
    if torch.linalg.det(affine) < 0:
        affine[:3, 0] *= -1
    values = torch.arange(grid_3d.size, dtype=torch.int16).reshape(grid_3d.shape) - 1024
    return Image(values, Grid(grid_3d.shape, affine), name="volume")


def test_nephi_and_itk_read_it(tmp_path: Path, image: Image) -> None:
    write_ct_series(tmp_path / "ct", image, ABOUT)
    ours = read_image(tmp_path / "ct")
    assert ours.data.dtype == torch.int16 and torch.equal(ours.data, image.data)
    torch.testing.assert_close(ours.grid.affine, image.grid.affine, rtol=0, atol=1e-5)
    theirs = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "ct")))
    assert np.array_equal(sitk.GetArrayFromImage(theirs).T, image.data.numpy())
    lps = np.diag([-1.0, -1.0, 1.0]) @ image.grid.origin.numpy()
    np.testing.assert_allclose(theirs.GetOrigin(), lps, atol=1e-5)


def test_series_of_one_patient_share_study_and_frame(tmp_path: Path, image: Image) -> None:
    others = [ABOUT, SeriesDescription("phantom-0", "CT chest inhale", 2), SeriesDescription("phantom-1", "CT chest")]
    headers = []
    for number, about in enumerate(others):
        write_ct_series(tmp_path / str(number), image, about)
        headers.append([pydicom.dcmread(path) for path in sorted((tmp_path / str(number)).iterdir())])
    first, second, third = (slices[0] for slices in headers)
    assert first.FrameOfReferenceUID == second.FrameOfReferenceUID != third.FrameOfReferenceUID
    assert first.StudyInstanceUID == second.StudyInstanceUID != third.StudyInstanceUID
    assert first.SeriesInstanceUID != second.SeriesInstanceUID
    uids = {header.SOPInstanceUID for slices in headers for header in slices}
    assert len(uids) == 3 * image.grid.shape[2]
    assert (first.PatientID, first.SeriesDescription, first.Modality) == ("phantom-0", "CT chest exhale", "CT")


def test_what_slices_cannot_hold_is_refused(tmp_path: Path, image: Image, sheared_grid: Grid) -> None:
    left_handed = image.grid.affine.clone()
    left_handed[:3, 0] *= -1
    for wrong, message in (
        (image.with_data(image.data.float()), "whole numbers"),
        (image.with_data(image.data - 1), "-1024 HU or more"),
        (Image(image.data, Grid(image.grid.shape, left_handed)), "right-handed"),
        (Image(image.data, sheared_grid), "DICOM series"),
    ):
        with pytest.raises(DataError, match=message):
            write_ct_series(tmp_path / "ct", wrong, ABOUT)
        assert not (tmp_path / "ct").exists()
