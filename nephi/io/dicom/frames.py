"""The frames of a DICOM file: one in most files, many in enhanced (multi-frame) ones, each with a place and a scale."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from nephi.errors import DataError
from nephi.io.dicom.elements import items_of, numbers, text_of
from nephi.io.dicom.file import FILE_MARKS, DicomFile
from nephi.io.dicom.pixels import require_pixels
from nephi.io.voxels import Scaling

FRAME_MARKS = {
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
PLACES = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "DetectorInformationSequence",
)
SLICE_VECTOR = "(0054,0080)"  # as FrameIncrementPointer: frames differ in nothing but their slice
FRAME_TYPES = ("CTImageFrameTypeSequence", "MRImageFrameTypeSequence", "PETFrameTypeSequence")


@dataclass(frozen=True, eq=False)
class DicomFrame:
    """Frame `index` of `file`. Lengths in mm, LPS; what the header does not give is None.

    `position` is that of the first pixel's centre; `orientation` the direction of a row and then of a column (the way
    from one row to the next); `spacing` the distance between rows, then between columns. `scaling` turns stored
    numbers into values; `marks` are header values that may distinguish frames of one position.
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
    marks: dict[str, str] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns."""
        return self.file.count("Rows"), self.file.count("Columns")

    @property
    def label(self) -> str:
        """File name, and the frame's number where there are several."""
        several = self.file.count("NumberOfFrames", 1) > 1
        return f"{self.file.path.name} frame {self.index + 1}" if several else self.file.path.name


def frames_of(file: DicomFile) -> list[DicomFrame]:
    """Return all frames of a file.

    Raises `DataError` when the file has no pixels or too few for its header, or the header is contradictory.
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
    marks = {keyword: _mark(file.header, keyword, file) for keyword in FILE_MARKS}
    marks |= {keyword: marks[keyword].split(".")[0] for keyword in ("AcquisitionTime", "ContentTime")}
    return [
        _frame(file, n, [*(_groups_in(group, file) for group in groups[n : n + 1]), *common], marks, offsets[n])
        for n in range(count)
    ]


Groups = dict[str, list[Any]]  # functional groups by their keyword


def _groups_in(header: Any, file: DicomFile) -> Groups:
    keywords = _group_keywords()
    return {keywords[tag]: items_of(header, keywords[tag], file.path) for tag in header.keys() & keywords.keys()}


@cache
def _group_keywords() -> dict[int, str]:
    from pydicom.datadict import tag_for_keyword

    found = {tag_for_keyword(keyword): keyword for keyword in {*PLACES, *FRAME_MARKS.values(), *FRAME_TYPES}}
    return {int(tag): keyword for tag, keyword in found.items() if tag is not None}


def _frame(file: DicomFile, index: int, levels: list[Groups], marks: dict[str, str], offset: float) -> DicomFrame:
    """Return a frame from its own functional groups, the shared ones and the file's header; the first that has it."""

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
        spacing=_positive(find("PixelSpacing", "PixelMeasuresSequence", 2), file),
        scaling=Scaling(slope[0] if slope else 1.0, intercept[0] if intercept else 0.0),
        has_slope=slope is not None,
        has_intercept=intercept is not None,
        slice_spacing=between[0] if between else None,
        marks=marks | _frame_marks(file, levels),
    )


def _positive(spacing: tuple[float, ...] | None, file: DicomFile) -> tuple[float, ...] | None:
    """Return `spacing`; raise `DataError` when it is not above 0."""
    if spacing is not None and min(spacing) <= 0:
        found = " x ".join(f"{s:g}" for s in spacing)
        raise DataError(f"{file.path}: expected a PixelSpacing above 0 mm, found {found}; correct the header")
    return spacing


def _frame_marks(file: DicomFile, levels: list[Groups]) -> dict[str, str]:
    marks: dict[str, str] = {}
    pairs = [*FRAME_MARKS.items(), *(("FrameType", group) for group in FRAME_TYPES)]
    for level in reversed(levels):  # the frame's own groups last: they count
        for keyword, group in pairs:
            for item in level.get(group, ()):
                for holder in (item, *items_of(item, "DiffusionGradientDirectionSequence", file.path)):
                    marks[keyword] = _mark(holder, keyword, file) or marks.get(keyword, "")
    return marks


def _mark(header: Any, keyword: str, file: DicomFile) -> str:
    """Return a value as text, empty if it is missing or damaged: it serves messages only."""
    try:
        return text_of(header, keyword, file.path)
    except DataError:
        return ""


def _offsets(file: DicomFile, count: int) -> tuple[float, ...]:
    """Return how far (mm) each frame lies from the file's position along the slices' normal, 0 if they have their own.

    Dose grids list these offsets. Slices of a reconstruction in nuclear medicine are stacked by SpacingBetweenSlices,
    whose sign is that of the direction (DICOM PS3.3 C.8.4.15).
    """
    if count > 1 and file.text("GridFrameOffsetVector"):
        offsets = numbers(file.header, "GridFrameOffsetVector", count, file.path)
        assert offsets is not None
        return _from_first(file, offsets)
    if count > 1 and file.text("FrameIncrementPointer") == SLICE_VECTOR and file.text("SliceVector"):
        slices = numbers(file.header, "SliceVector", count, file.path)
        between = numbers(file.header, "SpacingBetweenSlices", 1, file.path)
        assert slices is not None
        if between is None or between[0] == 0:
            raise DataError(
                f"{file.path}: expected the distance of {count} slices as SpacingBetweenSlices, it is missing"
            )
        return tuple((number - 1) * between[0] for number in slices)
    return (0.0,) * count


def _from_first(file: DicomFile, offsets: tuple[float, ...]) -> tuple[float, ...]:
    """Return the offsets of a dose grid's planes from its first one; axial grids may list z coordinates instead."""
    position = numbers(file.header, "ImagePositionPatient", 3, file.path)
    turned = numbers(file.header, "ImageOrientationPatient", 6, file.path)
    is_axial = turned is not None and abs(turned[0]) == abs(turned[4]) == 1 and turned[0] == turned[4]
    if offsets[0] != 0 and not (is_axial and position is not None and abs(offsets[0] - position[2]) < SAME_POSITION):
        raise DataError(
            f"{file.path}: expected a GridFrameOffsetVector that begins with 0, or with the z of ImagePositionPatient "
            f"in an axial grid, found {offsets[0]:g}"
        )
    return tuple(offset - offsets[0] for offset in offsets)


def cross(row: tuple[float, ...], column: tuple[float, ...]) -> tuple[float, ...]:
    """Return the cross product of two vectors of three numbers."""
    (a, b, c), (d, e, f) = row, column
    return b * f - c * e, c * d - a * f, a * e - b * d
