"""Export a transform in the format of another tool."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.io.fields.conventions import require_representable
from nephi.io.fields.displacement_writer import write_displacement
from nephi.io.fields.interleaved import INTERLEAVED_SUFFIXES, write_interleaved
from nephi.io.foreign import NIFTI_SUFFIXES, suffix_of
from nephi.io.transforms.composite_file import COMPOSITE_SUFFIXES, write_composite
from nephi.io.transforms.transform_file import AFFINE_SUFFIXES, write_affine
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


def export_transform(
    transform: Transform, reference: Grid, path: str | Path, format: str = "itk", moving: Grid | None = None
) -> None:
    """Write a transform (fixed to moving points, world mm, RAS) in the format of another tool.

    `itk`: displacement field in LPS mm, `.nii`, `.nii.gz`, `.mha` or `.nrrd` (ITK, SimpleITK, ANTs, greedy); an affine
    transform may go to `.tfm`, `.txt`, `.mat`, `.h5` as such. `slicer`: NIfTI field in RAS mm. `nrrd`: the ITK field as
    `.nrrd`. `h5`: ITK composite transform, `.h5` or `.tfm`; an affine stays affine. `learn2reg`: NIfTI field in voxels.
    `fsl`: relative NIfTI field in scaled voxels. Fields lie on the grid `reference`, and are computed and written slab
    by slab, but for `h5`, which holds one in memory. The file appears when it is complete.

    `moving` is the moving image's grid, `reference` if not given; only `learn2reg` and `fsl` depend on it.

    Raises `UsageError` for an unknown format or a suffix that is not the format's; `DataError` when the dimensions
    differ, the grid is sheared, a deformation goes to a format for affine maps, `learn2reg` is asked for two images on
    different grids, `learn2reg` or `fsl` in 2-D, or the file cannot be written.
    """
    path = Path(path)
    suffix = _suffix_for(format, path)
    for grid, what in ((reference, "reference"), (moving, "moving image")):
        if grid is not None and grid.dimension != transform.dimension:
            raise DataError(
                f"{path}: expected a {transform.dimension}-D {what}, as the transform is, found {grid.dimension}-D"
            )
    affine = as_affine(transform)
    if format == "h5":
        write_composite(path, affine or transform, reference)
    elif suffix in AFFINE_SUFFIXES:
        if affine is None:
            raise DataError(f"{path}: {suffix} holds affine transforms, found a deformation; use .nii.gz or format h5")
        write_affine(path, affine)
    elif suffix in INTERLEAVED_SUFFIXES:
        write_interleaved(path, transform, reference)
    else:
        require_representable(format, path, reference, moving)
        write_displacement(path, transform, reference, format, moving)


def _suffix_for(format: str, path: Path) -> str:
    if format not in SUFFIXES:
        raise UsageError(f"unknown transform format {format!r}: choose one of {', '.join(FORMATS)}")
    suffix = suffix_of(path)
    if suffix not in SUFFIXES[format]:
        known = ", ".join(SUFFIXES[format])
        raise UsageError(f"{path}: the format {format} is written as {known}, not {suffix or 'without suffix'}")
    return suffix
