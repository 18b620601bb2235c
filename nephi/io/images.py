"""Read one image, in the format that the suffix of the file names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from nephi.argument_types import checked
from nephi.errors import DataError, collected_warnings
from nephi.geometry import Grid
from nephi.geometry.flat import flattened
from nephi.images import Image
from nephi.io.files.input_files import ITK_SUFFIXES, is_folder, require_file, suffix_of
from nephi.io.meta_nrrd.voxel_image import read_voxel_header, read_voxel_image
from nephi.io.nifti.image import HEADER_SUFFIXES, image_of_file, read_volume_header

FLAT_SUFFIXES = (".png", ".tif", ".tiff")


@checked
@torch.inference_mode(False)
def read_image(path: str | Path, name: str | None = None) -> Image:
    """Read a scalar 2-D or 3-D image with its grid in world mm, RAS.

    Formats: `.nii`, `.nii.gz`; NIfTI and Analyze pairs (`.hdr` or `.img`); FreeSurfer's `.mgz`, `.mgh`; `.mha`, `.mhd`,
    `.nrrd`, `.nhdr`; 2-D grey `.png`, `.tif`; a folder with one DICOM series, or a DICOM file of one slice or many
    frames; NIfTI from a pipe or `/dev/stdin`.

    The axes of the array are the voxel indices (i, j, k), as in nibabel. A volume of one axial slice is 2-D in all
    formats; `Grid.plane` stores its height, at which results are written. `name` is the name of the image in error
    messages, by default the path.

    Integers are converted to the smallest type that torch supports. float64 is converted to float32, which rounds
    intensities to seven digits, unless that changes a whole number (labels beyond 2^24). `Image.voxel_type` is the type
    in the file. NIfTI scaling by whole numbers gives integers. An uncompressed NIfTI file of 64 MiB or more is
    memory-mapped; `Image.data` raises `DataError` if the file is shortened later.

    If a file contradicts itself or leaves something undefined, a `DataWarning` states what was used; `Image.warnings`
    has its text.

    Raises `DataError` naming the file when it is missing, damaged or of unknown format, is not one volume of one real
    number per voxel, or its header does not define a valid grid.
    """
    path = Path(path)
    with collected_warnings() as messages:
        image = _read(path)
    return replace(image, name=name or image.name, warnings=tuple(messages))


def _read(path: Path) -> Image:
    suffix = suffix_of(path)
    if not is_folder(path):
        file = read_volume_header(path)
        if file is not None:
            return image_of_file(file)
        if suffix in ITK_SUFFIXES:
            return read_voxel_image(path)
        if suffix in FLAT_SUFFIXES:
            from nephi.io.pictures import read_picture  # here, as the modules of DICOM: few images need them

            return read_picture(path)
    from nephi.io.dicom.image import is_dicom, read_dicom

    if is_folder(path) or is_dicom(path):
        return read_dicom(path)
    require_file(path)
    known = ", ".join(HEADER_SUFFIXES + ITK_SUFFIXES + FLAT_SUFFIXES)
    raise DataError(f"{path}: expected an image ({known}) or DICOM (a folder or a file), found {suffix or 'no suffix'}")


def image_grid(path: str | Path) -> Grid:
    """Read the grid of an image; only the header, if the format allows.

    Raises the errors of `read_image`.
    """
    path = Path(path)
    file = read_volume_header(path)
    if file is not None:
        file.require_scalars()
        file.require_one_volume()
        return file.grid
    if not is_folder(path) and suffix_of(path) in ITK_SUFFIXES:
        voxels = read_voxel_header(path)
        voxels.require_one_volume()
        return flattened(voxels.grid, path)
    return read_grid(path)


@checked
def read_grid(path: str | Path) -> Grid:
    """Read the grid of any image, series of volumes or displacement field, to use it for results.

    Voxels may have any type. Only the header is read, if the format allows. Raises `DataError` naming the file when it
    is missing, damaged or of unknown format.
    """
    path = Path(path)
    file = read_volume_header(path)
    if file is not None:
        return file.grid
    if not is_folder(path) and suffix_of(path) in ITK_SUFFIXES:
        return flattened(read_voxel_header(path).grid, path)
    from nephi.io.dicom.image import dicom_grid, is_dicom  # here: few images need these modules

    if is_folder(path) or is_dicom(path):
        return dicom_grid(path)
    return _read(path).grid
