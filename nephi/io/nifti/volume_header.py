"""Files whose headers nephi reads by itself: NIfTI in one or two files, Analyze, MGH; and pipes that carry NIfTI."""

from __future__ import annotations

from pathlib import Path

from nephi.io.files.gzipped import is_stream
from nephi.io.files.input_files import MGH_SUFFIXES, NIFTI_SUFFIXES, PAIR_SUFFIXES, is_folder, suffix_of
from nephi.io.nifti.header import read_header
from nephi.io.nifti.mgh import read_mgh_header
from nephi.io.stored_volume import StoredVolume

HEADER_SUFFIXES = (*NIFTI_SUFFIXES, *PAIR_SUFFIXES, *MGH_SUFFIXES)


def read_volume_header(path: Path) -> StoredVolume | None:
    """Return the header of a file of one of these formats, by its suffix; None for others and for folders.

    A pipe or `/dev/stdin`, whose name has no suffix, is read as NIfTI. Raises `DataError` for a damaged file.
    """
    if is_folder(path):
        return None
    suffix = suffix_of(path)
    if suffix in MGH_SUFFIXES:
        return read_mgh_header(path)
    return read_header(path) if suffix in HEADER_SUFFIXES or is_stream(path) else None
