"""Export a transform in the format of another tool."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from nephi.argument_types import checked
from nephi.errors import DataError, UsageError
from nephi.io.arguments import GridLike, as_grid
from nephi.io.fields.conventions import require_representable
from nephi.io.fields.displacement_writer import write_displacement
from nephi.io.fields.interleaved import INTERLEAVED_SUFFIXES, write_interleaved
from nephi.io.files.input_files import NIFTI_SUFFIXES, suffix_of
from nephi.io.transforms.itk_writer import AFFINE_SUFFIXES, COMPOSITE_SUFFIXES, write_affine, write_composite
from nephi.runtime import caller_threads
from nephi.transforms import Transform, as_affine

SUFFIXES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "itk": (*NIFTI_SUFFIXES, *INTERLEAVED_SUFFIXES, *AFFINE_SUFFIXES),
        "slicer": NIFTI_SUFFIXES,
        "nrrd": (".nrrd",),
        "h5": COMPOSITE_SUFFIXES,
        "learn2reg": NIFTI_SUFFIXES,
        "fsl": NIFTI_SUFFIXES,
    }
)
FORMATS = tuple(SUFFIXES)
"""The formats that `export_transform` writes."""


@checked
@caller_threads()
def export_transform(
    transform: Transform,
    reference: GridLike,
    path: str | Path,
    format: str = "itk",
    moving: GridLike | None = None,
) -> None:
    """Write a transform (fixed to moving points, world mm, RAS) in the format of another tool.

    Formats:

    - `itk`: displacement field in LPS mm, `.nii`, `.nii.gz`, `.mha` or `.nrrd` (ITK, SimpleITK, ANTs, greedy); with the
      suffix `.tfm`, `.txt`, `.mat` or `.h5`, an affine transform as a matrix;
    - `slicer`: NIfTI field in RAS mm;
    - `nrrd`: field in LPS mm as `.nrrd`;
    - `h5`: ITK composite transform, `.h5` or `.tfm`, of an affine matrix or a field;
    - `learn2reg`: NIfTI field in voxels;
    - `fsl`: relative NIfTI field in scaled voxels.

    Fields are on the grid `reference`, which an image in any form may give. They are computed and written slab by slab,
    except in the format `h5`, which needs the field in memory. The file is put in place when it is complete.

    `moving` is the grid of the moving image, `reference` by default; only `learn2reg` and `fsl` depend on it.

    Raises `UsageError` for an unknown format or a wrong suffix; `DataError` for different dimensions, a sheared grid, a
    deformation in a format for affine maps, two images on different grids in the format `learn2reg`, 2-D images in the
    formats other than `itk` and `h5`, or a file that cannot be written.
    """
    path = Path(path)
    suffix = _validate_suffix(format, path)
    reference = as_grid(reference, "reference")
    moving = None if moving is None else as_grid(moving, "moving")
    for grid, what in ((reference, "reference"), (moving, "moving image")):
        if grid is not None and grid.dimension != transform.dimension:
            raise DataError(
                f"{path}: expected a {transform.dimension}-D {what} for the transform, found {grid.dimension}-D"
            )
    affine = as_affine(transform)
    if format == "h5":
        write_composite(path, affine or transform, reference)
    elif suffix in AFFINE_SUFFIXES:
        if affine is None:
            raise DataError(
                f"{path}: expected an affine transform for {suffix}, got a deformation; use .nii.gz or format h5"
            )
        write_affine(path, affine)
    elif suffix in INTERLEAVED_SUFFIXES:
        write_interleaved(path, transform, reference)
    else:
        require_representable(format, path, reference, moving)
        write_displacement(path, transform, reference, format, moving)


def _validate_suffix(format: str, path: Path) -> str:
    if format not in SUFFIXES:
        raise UsageError(f"format: expected one of {', '.join(FORMATS)}, got {format!r}")
    suffix = suffix_of(path)
    if suffix not in SUFFIXES[format]:
        allowed = ", ".join(SUFFIXES[format])
        raise UsageError(f"{path}: expected {allowed} for the format {format}, got {suffix or 'no suffix'}")
    return suffix
