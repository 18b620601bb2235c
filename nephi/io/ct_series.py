"""Write synthetic CT as a DICOM series: one file for each axial slice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.geometry.frames import flip_matrix, require_perpendicular
from nephi.images import Image
from nephi.io.files.atomic import replacing_files

CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
INTERCEPT = -1024  # HU of the stored value 0, as scanners have it


@dataclass(frozen=True)
class SeriesDescription:
    """What the headers of a series say: `patient` (name and id), `description` of the series, its number, and `date`.

    `date` is YYYYMMDD. Series of one patient and date belong to one study and one frame of reference; equal
    descriptions give equal UIDs.
    """

    patient: str
    description: str
    number: int = 1
    date: str = "20260101"


def write_ct_series(folder: str | Path, image: Image, about: SeriesDescription) -> None:
    """Write a 3-D image of whole numbers (HU, at least -1024) as CT slices `slice001.dcm`, ... in a new folder.

    For phantoms: the headers hold what a reader of volumes needs, and state that the values are synthetic.

    Raises `DataError` for an image that is not 3-D, has other values, or lies on a sheared or left-handed grid, which
    slices in their order cannot represent, and when the folder cannot be written.
    """
    grid = image.grid
    _validate(folder, image)
    stored = (image.data.to(torch.int32) - INTERCEPT).to(torch.uint16).numpy()
    lps = (flip_matrix(3) @ grid.affine).numpy()
    names = [f"slice{number:03d}.dcm" for number in range(1, grid.shape[2] + 1)]
    with replacing_files(Path(folder), names) as new:
        for k, name in enumerate(names):
            header = _header(about, grid, lps, k)
            header.PixelData = np.ascontiguousarray(stored[:, :, k].T).astype("<u2").tobytes()
            header["PixelData"].VR = "OW"
            header.save_as(new / name, enforce_file_format=True)


def _validate(folder: str | Path, image: Image) -> None:
    if image.grid.dimension != 3 or image.data.is_floating_point():
        raise DataError(f"{folder}: expected a 3-D image of whole numbers for a CT series, got {image.name}")
    if int(image.data.min()) < INTERCEPT or int(image.data.max()) >= 2**16 + INTERCEPT:
        raise DataError(f"{folder}: expected values of {INTERCEPT} HU or more, and of 16 bits, got {image.name}")
    require_perpendicular(image.grid, folder, "a DICOM series")
    if torch.linalg.det(image.grid.affine[:3, :3]) < 0:
        raise DataError(f"{folder}: expected a right-handed grid for a DICOM series, got that of {image.name}")


def _header(about: SeriesDescription, grid: Grid, lps: np.ndarray[Any, Any], k: int) -> Any:
    """Return the header of slice k; `lps` is the voxel-to-world matrix in LPS."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    study = ["nephi", about.patient, about.date]
    series = [*study, about.description, str(about.number)]
    columns = (lps[:3, :3] / grid.spacing.numpy()).T
    dx, dy, dz = grid.spacing.tolist()
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = UID(CT_STORAGE)
    uid = generate_uid(entropy_srcs=[*series, str(k)])
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = uid
    data.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    data.StudyDate = data.SeriesDate = data.AcquisitionDate = data.ContentDate = about.date
    data.StudyTime, data.AccessionNumber, data.Modality = "120000", "", "CT"
    data.Manufacturer, data.ReferringPhysicianName = "nephi, synthetic", ""
    data.StudyDescription, data.SeriesDescription = "Synthetic chest, breathing", about.description
    data.PatientName = data.PatientID = about.patient
    data.PatientBirthDate = data.PatientSex = ""
    data.BodyPartExamined, data.PatientPosition, data.KVP = "CHEST", "HFS", ""
    data.StudyID, data.SeriesNumber, data.InstanceNumber = "1", about.number, k + 1
    data.StudyInstanceUID = generate_uid(entropy_srcs=study)
    data.SeriesInstanceUID = generate_uid(entropy_srcs=series)
    data.FrameOfReferenceUID = generate_uid(entropy_srcs=[*study, "frame"])
    data.PositionReferenceIndicator, data.AcquisitionNumber = "", 1
    data.ImagePositionPatient = _text((lps @ [0, 0, k, 1])[:3])
    data.ImageOrientationPatient = _text(columns[:2].ravel())
    data.PixelSpacing, data.SliceThickness = _text((dy, dx)), _text((dz,))[0]
    data.Rows, data.Columns, data.SamplesPerPixel = grid.shape[1], grid.shape[0], 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = INTERCEPT, 1, "HU"
    data.WindowCenter, data.WindowWidth = -600, 1500
    return data


def _text(values: Any) -> list[str]:
    """Format numbers as decimal strings, of at most 16 characters."""
    return [f"{float(value):.8f}"[:16] for value in values]
