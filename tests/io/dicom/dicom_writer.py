"""Write DICOM files with pydicom: series of slices, and enhanced (multi-frame) files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless, generate_uid

from nephi.geometry import Grid

Array = NDArray[Any]
SERIES = "1.2.826.0.1.3680043.2.1125.7"
CT, PET, MR = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "128", "4"))
ENHANCED_CT, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.4.1"
SHAPE = (7, 5, 6)
COUNT = SHAPE[2]


def lps_affine() -> Array:
    """Return an oblique, anisotropic, right-handed voxel-to-world matrix in LPS."""
    normal = np.array([0.1, -0.2, 1.0])
    mirror = np.eye(3) - 2 * np.outer(normal, normal) / (normal @ normal)
    affine = np.eye(4)
    affine[:3, :3] = mirror @ np.diag([-1, 1, 1]) * [1.5, 0.8, 2.5]
    affine[:3, 3] = [-31.0, 47.5, 212.25]
    return affine


def ras_affine(affine: Array | None = None) -> Array:
    """Return the expected `Grid.affine` of a series at `affine` (LPS)."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ (lps_affine() if affine is None else affine)


def is_at(grid: Grid, affine: Array | None = None) -> bool:
    """Return whether a grid is at `affine`, within the precision of DICOM's decimal text."""
    return bool(np.abs(grid.affine.numpy() - ras_affine(affine)).max() < 1e-4)


def ramp(shape: tuple[int, ...] = SHAPE) -> Array:
    """Return distinct whole numbers from -500."""
    return np.arange(np.prod(shape)).reshape(shape) - 500.0


def base(columns: int, rows: int, storage: str, syntax: str = ExplicitVRLittleEndian) -> Dataset:
    """Return the header of a grey image without geometry or values."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = UID(syntax)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = UID(storage)
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.SeriesInstanceUID, data.StudyInstanceUID, data.FrameOfReferenceUID = SERIES, SERIES + ".1", SERIES + ".2"
    data.Rows, data.Columns, data.SamplesPerPixel = rows, columns, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    return data


def set_pixels(
    data: Dataset, stored: Array, signed: bool = False, allocated: int = 16, bits: int | None = None
) -> None:
    """Store whole numbers `(..., rows, columns)`; raise if they are out of range, an error of the test."""
    dtype = np.dtype(f"{'i' if signed else 'u'}{allocated // 8}")
    assert np.array_equal(stored, np.round(stored))
    assert np.iinfo(dtype).min <= stored.min() and stored.max() <= np.iinfo(dtype).max
    data.BitsAllocated, data.BitsStored = allocated, bits or allocated
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(signed)
    order = ">" if data.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<"
    data.PixelData = np.ascontiguousarray(stored.astype(dtype.newbyteorder(order))).tobytes()
    data["PixelData"].VR = "OW"


def save(data: Dataset, path: Path) -> None:
    """Write a file, compressed if its transfer syntax is compressed."""
    syntax = data.file_meta.TransferSyntaxUID
    if syntax == RLELossless:
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.compress(syntax)
    data.save_as(path, enforce_file_format=True)


def text(values: Sequence[float]) -> list[str]:
    """Format numbers as decimal strings."""
    return [f"{value:.8f}" for value in values]


def value_of_slice(value: Any, k: int) -> Any:
    """Return the value of slice `k` of a list, or the common value."""
    return value[k] if isinstance(value, list | np.ndarray) else value


def write_slices(
    folder: Path,
    values: Array,
    affine: Array | None = None,
    *,
    slope: float | list[float] | Array = 1.0,
    intercept: float | list[float] = 0.0,
    signed: bool | list[bool] = True,
    allocated: int | list[int] = 16,
    bits: int | list[int] | None = None,
    storage: str = CT,
    syntax: str = ExplicitVRLittleEndian,
    change: Callable[[Dataset, int], Any] = lambda data, k: None,
    name: str = "{:03d}.dcm",
) -> Path:
    """Write values `(X, Y, Z)` as a series, one file per slice; `change` edits the header of slice k (False: drop)."""
    folder.mkdir(exist_ok=True, parents=True)
    affine = lps_affine() if affine is None else affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    for k in range(values.shape[2]):
        data = base(*values.shape[:2], storage, syntax)
        data.InstanceNumber = k + 1
        data.PixelSpacing = text([spacing[1], spacing[0]])
        data.ImagePositionPatient = text(affine[:3, 3] + k * affine[:3, 2])
        data.ImageOrientationPatient = text([*affine[:3, 0] / spacing[0], *affine[:3, 1] / spacing[1]])
        data.RescaleSlope, data.RescaleIntercept = (
            f"{value_of_slice(slope, k):.10g}",
            f"{value_of_slice(intercept, k):.10g}",
        )
        stored = np.round((values[..., k] - value_of_slice(intercept, k)) / value_of_slice(slope, k)).T
        set_pixels(data, stored, value_of_slice(signed, k), value_of_slice(allocated, k), value_of_slice(bits, k))
        if change(data, k) is not False:
            save(data, folder / name.format(k))
    return folder


def item(**values: Any) -> Dataset:
    """Return an item of a sequence."""
    data = Dataset()
    for keyword, value in values.items():
        setattr(data, keyword, value)
    return data


def write_enhanced(
    path: Path,
    values: Array,
    affine: Array | None = None,
    *,
    order: Sequence[int] | None = None,
    slope: float | list[float] = 1.0,
    intercept: float | list[float] = 0.0,
    storage: str = ENHANCED_CT,
    change: Callable[[Dataset], Any] = lambda data: None,
    change_frame: Callable[[Dataset, int], Any] = lambda group, k: None,
) -> Path:
    """Write values `(X, Y, Z)` as one multi-frame file whose frames are the slices `order` (all of them by default)."""
    affine = lps_affine() if affine is None else affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    order = range(values.shape[2]) if order is None else order
    data = base(*values.shape[:2], storage)
    data.NumberOfFrames = len(order)
    axes = text([*affine[:3, 0] / spacing[0], *affine[:3, 1] / spacing[1]])
    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=text([spacing[1], spacing[0]]))],
        PlaneOrientationSequence=[item(ImageOrientationPatient=axes)],
    )
    data.SharedFunctionalGroupsSequence = [shared]
    groups, frames = [], []
    for k in order:
        scale = item(
            RescaleSlope=f"{value_of_slice(slope, k):.10g}", RescaleIntercept=f"{value_of_slice(intercept, k):.10g}"
        )
        group = item(
            PlanePositionSequence=[item(ImagePositionPatient=text(affine[:3, 3] + k * affine[:3, 2]))],
            PixelValueTransformationSequence=[scale],
            FrameContentSequence=[item(StackID="1", InStackPositionNumber=k + 1)],
        )
        change_frame(group, len(groups))
        groups.append(group)
        frames.append(np.round((values[..., k] - value_of_slice(intercept, k)) / value_of_slice(slope, k)).T)
    data.PerFrameFunctionalGroupsSequence = groups
    set_pixels(data, np.stack(frames), signed=True)
    change(data)
    save(data, path)
    return path
