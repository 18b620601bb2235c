"""What the header of a file says about the origin of an image."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Origin:
    """Patient, modality, frame of reference, date and description in the header of a DICOM file; empty if missing.

    patient: PatientID. modality: CT, MR, ... frame: FrameOfReferenceUID, equal for images in the same position of the
    patient on the table. date: of the study, YYYYMMDD. description: SeriesDescription.
    """

    patient: str = ""
    modality: str = ""
    frame: str = ""
    date: str = ""
    description: str = ""

    def table(self) -> dict[str, str]:
        """Return the texts for JSON, without those that are missing."""
        return {name: text for name, text in asdict(self).items() if text}
