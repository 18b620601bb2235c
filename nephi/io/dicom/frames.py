"""Frames of a DICOM file (several in an enhanced one), each with its position, orientation, spacing and scaling."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from nephi.errors import DataError
from nephi.images.voxels import Scaling
from nephi.io.dicom.elements import items_of, numbers, text_of
from nephi.io.dicom.file import FILE_ATTRIBUTES, DicomFile
from nephi.io.dicom.pixels import require_pixels

# Header values that may distinguish frames at one position, by the functional group that has them.
FRAME_ATTRIBUTES = {
    "StackID": "FrameContentSequence",
    "TemporalPositionIndex": "FrameContentSequence",
    "FrameAcquisitionNumber": "FrameContentSequence",
    "EffectiveEchoTime": "MREchoSequence",
    "DiffusionBValue": "MRDiffusionSequence",
    "DiffusionGradientOrientation": "MRDiffusionSequence",
    "NominalCardiacTriggerDelayTime": "CardiacSynchronizationSequence",
    "NominalPercentageOfCardiacPhase": "CardiacSynchronizationSequence",
    "ReferencedSegmentNumber": "SegmentIdentificationSequence",
}
SAME_POSITION = 1e-3  # mm
GEOMETRY_GROUPS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "DetectorInformationSequence",
)
SLICE_VECTOR = "(0054,0080)"  # value of FrameIncrementPointer: frames differ only in their slice
FRAME_TYPES = ("CTImageFrameTypeSequence", "MRImageFrameTypeSequence", "PETFrameTypeSequence")


@dataclass(frozen=True, eq=False)
class DicomFrame:
    """Frame `index` of `file`. Lengths are in mm, vectors in LPS; values that the header does not have are None.

    `position` is the centre of the first pixel; `orientation` the direction of a row, then of a column (from one row to
    the next); `spacing` the distance between rows, then between columns. `scaling` converts stored numbers to values.
    `attributes` are header values that may distinguish frames at one position.
    """

    file: DicomFile
    index: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    scaling: Scaling
    has_slope: bool
    has_intercept: bool
    slice_spacing: float | None = None
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns."""
        return self.file.count("Rows"), self.file.count("Columns")

    @property
    def label(self) -> str:
        """File name, with the number of the frame if the file has several."""
        several = self.file.count("NumberOfFrames", 1) > 1
        return f"{self.file.path.name} frame {self.index + 1}" if several else self.file.path.name


def frames_of(file: DicomFile) -> list[DicomFrame]:
    """Return all frames of a file.

    Raises `DataError` when the file has no pixels or too few for its header, or when the header contradicts itself.
    """
    require_pixels(file)
    count = file.count("NumberOfFrames", 1)
    groups = items_of(file.header, "PerFrameFunctionalGroupsSequence", file.path)
    if groups and len(groups) != count:
        raise DataError(
            f"{file.path}: expected a header for each of {count} frames, found {len(groups)} "
            "(PerFrameFunctionalGroupsSequence); the file may be damaged"
        )
    shared = items_of(file.header, "SharedFunctionalGroupsSequence", file.path)[:1]
    common = [_groups_in(header, file) for header in (*shared, file.header)]
    offsets = _offsets(file, count)
    attributes = {keyword: _attribute(file.header, keyword, file) for keyword in FILE_ATTRIBUTES}
    attributes |= {keyword: attributes[keyword].split(".")[0] for keyword in ("AcquisitionTime", "ContentTime")}
    return [
        _frame(file, n, [*(_groups_in(group, file) for group in groups[n : n + 1]), *common], attributes, offsets[n])
        for n in range(count)
    ]


Groups = dict[str, list[Any]]  # functional groups by their keyword


def _groups_in(header: Any, file: DicomFile) -> Groups:
    keywords = _group_keywords()
    return {keywords[tag]: items_of(header, keywords[tag], file.path) for tag in header.keys() & keywords.keys()}


@cache
def _group_keywords() -> dict[int, str]:
    from pydicom.datadict import tag_for_keyword

    keywords = {
        tag_for_keyword(keyword): keyword for keyword in {*GEOMETRY_GROUPS, *FRAME_ATTRIBUTES.values(), *FRAME_TYPES}
    }
    return {int(tag): keyword for tag, keyword in keywords.items() if tag is not None}


def _frame(file: DicomFile, index: int, levels: list[Groups], attributes: dict[str, str], offset: float) -> DicomFrame:
    """Return a frame. Each value is that of the first of its own and the shared functional groups, and the header."""

    def find(keyword: str, group: str, count: int) -> tuple[float, ...] | None:
        for holder in (*(item for level in levels for item in level.get(group, ())), file.header):
            values = numbers(holder, keyword, count, file.path)
            if values is not None:
                return values
        return None

    position = find("ImagePositionPatient", "PlanePositionSequence", 3)
    position = position or find("ImagePositionPatient", "DetectorInformationSequence", 3)
    orientation = find("ImageOrientationPatient", "PlaneOrientationSequence", 6)
    orientation = orientation or find("ImageOrientationPatient", "DetectorInformationSequence", 6)
    if offset and position is not None and orientation is not None:
        normal = cross(orientation[:3], orientation[3:])
        position = tuple(p + offset * n for p, n in zip(position, normal, strict=True))
    slope = find("RescaleSlope", "PixelValueTransformationSequence", 1)
    slope = slope or numbers(file.header, "DoseGridScaling", 1, file.path)
    intercept = find("RescaleIntercept", "PixelValueTransformationSequence", 1)
    between = find("SpacingBetweenSlices", "PixelMeasuresSequence", 1)
    return DicomFrame(
        file=file,
        index=index,
        position=position,
        orientation=orientation,
        spacing=_require_positive(find("PixelSpacing", "PixelMeasuresSequence", 2), file),
        scaling=Scaling(slope[0] if slope else 1.0, intercept[0] if intercept else 0.0),
        has_slope=slope is not None,
        has_intercept=intercept is not None,
        slice_spacing=between[0] if between else None,
        attributes=attributes | _frame_attributes(file, levels),
    )


def _require_positive(spacing: tuple[float, ...] | None, file: DicomFile) -> tuple[float, ...] | None:
    """Return `spacing`; raise `DataError` unless it is positive or None."""
    if spacing is not None and min(spacing) <= 0:
        found = " x ".join(f"{s:g}" for s in spacing)
        raise DataError(f"{file.path}: expected a positive PixelSpacing (mm), found {found}; correct the header")
    return spacing


def _frame_attributes(file: DicomFile, levels: list[Groups]) -> dict[str, str]:
    attributes: dict[str, str] = {}
    pairs = [*FRAME_ATTRIBUTES.items(), *(("FrameType", group) for group in FRAME_TYPES)]
    for level in reversed(levels):  # the groups of the frame itself last: they take precedence
        for keyword, group in pairs:
            for item in level.get(group, ()):
                for holder in (item, *items_of(item, "DiffusionGradientDirectionSequence", file.path)):
                    attributes[keyword] = _attribute(holder, keyword, file) or attributes.get(keyword, "")
    return attributes


def _attribute(header: Any, keyword: str, file: DicomFile) -> str:
    """Return a value as text, empty if it is missing or damaged; it is used in messages only."""
    try:
        return text_of(header, keyword, file.path)
    except DataError:
        return ""


def _offsets(file: DicomFile, count: int) -> tuple[float, ...]:
    """Return the distance (mm) of each frame from the file's position along the normal; 0 if frames have positions.

    Dose grids list these offsets. In nuclear medicine, slices are SpacingBetweenSlices apart, whose sign gives the
    direction (DICOM PS3.3 C.8.4.15).
    """
    if count > 1 and file.text("GridFrameOffsetVector"):
        offsets = numbers(file.header, "GridFrameOffsetVector", count, file.path)
        assert offsets is not None
        return _offsets_from_first(file, offsets)
    if count > 1 and file.text("FrameIncrementPointer") == SLICE_VECTOR and file.text("SliceVector"):
        slices = numbers(file.header, "SliceVector", count, file.path)
        between = numbers(file.header, "SpacingBetweenSlices", 1, file.path)
        assert slices is not None
        if between is None or between[0] == 0:
            raise DataError(f"{file.path}: expected SpacingBetweenSlices for {count} slices, it is missing or 0")
        return tuple((number - 1) * between[0] for number in slices)
    return (0.0,) * count


def _offsets_from_first(file: DicomFile, offsets: tuple[float, ...]) -> tuple[float, ...]:
    """Return the offsets of the planes of a dose grid from the first; axial grids may list z coordinates instead."""
    position = numbers(file.header, "ImagePositionPatient", 3, file.path)
    orientation = numbers(file.header, "ImageOrientationPatient", 6, file.path)
    is_axial = orientation is not None and abs(orientation[0]) == 1 and orientation[0] == orientation[4]
    if offsets[0] != 0 and not (is_axial and position is not None and abs(offsets[0] - position[2]) < SAME_POSITION):
        raise DataError(
            f"{file.path}: expected a GridFrameOffsetVector that starts with 0, or with the z of ImagePositionPatient "
            f"in an axial grid, found {offsets[0]:g}"
        )
    return tuple(offset - offsets[0] for offset in offsets)


def cross(row: tuple[float, ...], column: tuple[float, ...]) -> tuple[float, ...]:
    """Compute the cross product of two vectors of three numbers."""
    (a, b, c), (d, e, f) = row, column
    return b * f - c * e, c * d - a * f, a * e - b * d
