"""Write one image, in the format that the suffix of the file names."""

from __future__ import annotations

from pathlib import Path

from nephi.argument_types import checked
from nephi.errors import UsageError
from nephi.io.arguments import ImageLike, as_image
from nephi.io.files.input_files import ITK_SUFFIXES, NIFTI_SUFFIXES, suffix_of
from nephi.io.itk import write_scalar_itk
from nephi.io.nifti.writer import write_nifti


@checked
def write_image(image: ImageLike, path: str | Path) -> None:
    """Write an image in its `voxel_type` as `.nii`, `.nii.gz`, `.mha`, `.mhd`, `.nrrd` or `.nhdr`.

    `image` may have any form that `register` accepts.

    For an integer type, voxels are rounded and clamped to its range, with a `DataWarning` if that changes a value.
    NIfTI files have sform and qform with code 1, in mm; for a sheared grid, only the sform (qform code 0). `.nii.gz`
    has no time stamp: equal images give equal bytes. The file is put in place when it is complete.

    Raises `UsageError` for another suffix; `DataError` when the file cannot be written, for a sheared grid in a format
    of ITK, and for NaN in an integer type.
    """
    image, path = as_image(image), Path(path)
    suffix = suffix_of(path)
    if suffix in NIFTI_SUFFIXES:
        write_nifti(image, path)
    elif suffix in ITK_SUFFIXES:
        write_scalar_itk(image, path)
    else:
        known = ", ".join(NIFTI_SUFFIXES + ITK_SUFFIXES)
        raise UsageError(f"{path}: expected an image to be written as {known}, got {suffix or 'no suffix'}")
