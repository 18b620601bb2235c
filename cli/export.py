"""`nephi export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .field_options import FieldOptions, field_options
from .options import (
    FILE,
    announce,
    check_output,
    read_chain,
    require_dimension,
    transform_option,
    verbosity_options,
)

if TYPE_CHECKING:
    from nephi import Grid, Transform

FORMATS = ("itk", "slicer", "nrrd", "h5", "learn2reg", "fsl")
IN_VOXELS = ("learn2reg", "fsl")


@click.command(short_help="Write a transform for other tools.")
@transform_option
@click.option("-r", "--reference", type=FILE, required=True, help="Image whose grid the field lies on: the fixed one.")
@click.option("--format", "kind", type=click.Choice(FORMATS), required=True, help="What to write; see above.")
@click.option("-o", "--output", type=FILE, required=True, metavar="OUT", help="File for the transform.")
@click.option(
    "--moving",
    type=FILE,
    help="Moving image, for learn2reg and fsl; a .nephi knows its own, otherwise REFERENCE's grid is taken.",
)
@click.option(
    "--tolerance",
    type=float,
    metavar="MM",
    help="Let the field follow the transform between its nodes, too, to within MM; not for learn2reg and fsl.",
)
@field_options
@verbosity_options
def export(
    transforms: tuple[Path, ...],
    inverse: bool,
    reference: Path,
    kind: str,
    output: Path,
    moving: Path | None,
    tolerance: float | None,
    fields: FieldOptions,
    quiet: bool,
    verbose: bool,
) -> None:
    """Write a transform on the grid of REFERENCE in the format of another tool.

    \b
    itk        displacement field, LPS mm: ITK, SimpleITK, ANTs, greedy     .nii.gz .nii .nrrd .mha
               (an affine transform as such)                                .tfm .mat .txt .h5
    slicer     displacement field, RAS mm: 3-D Slicer                       .nii.gz .nii
    nrrd       the field of `itk`, as NRRD                                  .nrrd
    h5         ITK composite transform; an affine stays affine              .h5 .tfm
    learn2reg  displacements in voxels; both images on one grid             .nii.gz .nii
    fsl        relative warp of FSL                                         .nii.gz .nii

    The transform takes points of REFERENCE's space to the other image; with --inverse, REFERENCE is the moving image.
    Fields are computed and written slab by slab; only h5 holds one in memory.

    Other tools interpolate a field between its nodes, on the grid of REFERENCE up to some tenths of a millimetre away
    from the transform. With --tolerance the field gets a lattice of its own that keeps closer: the one on whose planes
    the transform bends, divided as often as it takes; that is measured at 200,000 points and printed.

    \b
    nephi export -t result/transform.nephi -r fixed.nii.gz --format slicer -o warp_slicer.nii.gz
    nephi export -t result/transform.nephi -r moving.nii.gz --inverse --format h5 -o inverse.h5
    nephi export -t result/transform.nephi -r fixed.nii.gz --tolerance 0.05 --format itk -o warp.nii.gz
    """
    import nephi

    check_output(output, reference, *transforms)
    grid = nephi.io.read_grid(reference)
    transform = read_chain(transforms, inverse, grid.dimension, fields.convention())
    require_dimension(reference, "voxels", grid.dimension, transform.dimension)
    nephi.transforms.warn_beyond_fields(transform, grid.corners_world(), str(reference))
    target = None
    if kind in IN_VOXELS:
        target = nephi.io.read_grid(moving) if moving else _target_grid(transforms, inverse)
    place = f"on the grid of {reference}"
    if tolerance is not None:
        grid, place = _fitting(transform, grid, kind, tolerance)
    nephi.export_transform(transform, grid, output, kind, target)
    announce(verbose or tolerance is not None, quiet, f"{output}: {kind} transform {place}")


def _fitting(transform: Transform, reference: Grid, kind: str, tolerance: float) -> tuple[Grid, str]:
    """Return a lattice for the field that keeps within the tolerance, and words for it."""
    import nephi

    if kind in IN_VOXELS:
        raise nephi.UsageError(f"--tolerance: {kind} demands a field on the grid of the reference; leave it out")
    found = nephi.transforms.fitting_grid(transform, reference, tolerance)
    size = " x ".join(map(str, found.grid.shape))
    return found.grid, f"on {size} nodes, at most {found.deviation:.2g} mm off at 200,000 points between them"


def _target_grid(transforms: tuple[Path, ...], inverse: bool) -> Grid | None:
    """Return the grid of the image that points arrive in, where the transform that acts last is a `.nephi`."""
    import nephi

    last = transforms[0] if inverse else transforms[-1]
    if last.suffix.lower() != ".nephi":
        return None
    about = nephi.results.describe_transform(last)
    return about["fixed_grid" if inverse else "moving_grid"]
