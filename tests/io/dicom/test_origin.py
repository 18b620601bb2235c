"""What DICOM headers say of patient and scan; damaged texts are no reason to refuse an image, or to warn."""

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from nephi.images import Origin
from nephi.io import read_image

from .dicom_writer import SERIES, ramp, write_slices

pytestmark = pytest.mark.filterwarnings("error::nephi.errors.DataWarning")


def test_patient_modality_frame_and_date(tmp_path: Path) -> None:
    def name_patient(data: Dataset, _: int) -> None:
        data.PatientID, data.StudyDate, data.SeriesDescription = "P-17 ", "20260131", "exhale"
        data.Modality = "CT"

    origin = read_image(write_slices(tmp_path / "series", ramp(), change=name_patient)).origin
    assert origin == Origin("P-17", "CT", SERIES + ".2", "20260131", "exhale")
    assert origin.table()["date"] == "20260131"


def test_missing_and_damaged_texts(tmp_path: Path) -> None:
    def damage(data: Dataset, _: int) -> None:
        data.PatientID = "A" * 8
        data.StudyDate = "20260131"

    folder = write_slices(tmp_path / "series", ramp(), change=damage)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"A" * 8, b"\xffA\x07B-17 ").replace(b"20260131", b"tomorrow"))
    origin = read_image(folder).origin
    assert origin is not None and origin.patient.isprintable() and "B-17" in origin.patient
    assert origin.date == "tomorrow" and origin.description == ""
