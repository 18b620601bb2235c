"""`nephi export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import FILE, check_output, echo_verbose, require_dimension, verbosity_options
from .printing import by
from .transform_options import ConventionOptions, convention_options, read_composed, transform_option

if TYPE_CHECKING:
    from nephi import Grid, Transform

FORMATS = ("itk", "slicer", "nrrd", "h5", "learn2reg", "fsl")
IN_VOXELS = ("learn2reg", "fsl")


@click.command(short_help="Convert a transform to the format of another tool.")
@transform_option
@click.option("-r", "--reference", type=FILE, required=True, help="Image with the grid of the field: the fixed image.")
@click.option("--format", "kind", type=click.Choice(FORMATS), required=True, help="Format, see above.")
@click.option("-o", "--output", type=FILE, required=True, metavar="OUT", help="File for the transform.")
@click.option(
    "--moving",
    type=FILE,
    help="Moving image, for learn2reg and fsl. Default: the grid stored in a .nephi file, otherwise that of REFERENCE.",
)
@click.option(
    "--tolerance",
    type=float,
    metavar="MM",
    help="Choose a grid on which the interpolated field is within MM of the transform; not for learn2reg and fsl.",
)
@convention_options
@verbosity_options
def export(
    transforms: tuple[Path, ...],
    inverse: bool,
    reference: Path,
    kind: str,
    output: Path,
    moving: Path | None,
    tolerance: float | None,
    convention: ConventionOptions,
    quiet: bool,
    verbose: bool,
) -> None:
    """Convert a transform to the format of another tool, as a displacement field on the grid of REFERENCE.

    \b
    itk        displacement field, LPS mm: ITK, SimpleITK, ANTs, greedy     .nii.gz .nii .nrrd .mha
               (affine transforms as a matrix)                              .tfm .mat .txt .h5
    slicer     displacement field, RAS mm: 3-D Slicer                       .nii.gz .nii
    nrrd       same as itk, in the NRRD format                              .nrrd
    h5         composite transform of ITK, with affine parts as matrices    .h5 .tfm
    learn2reg  displacements in voxels; both images on the same grid        .nii.gz .nii
    fsl        relative warp of FSL                                         .nii.gz .nii

    The transform maps points of REFERENCE to the other image; with --inverse, REFERENCE is the moving image. Fields are
    computed and written slab by slab; only h5 needs the whole field in memory.

    Other tools interpolate the field between its nodes. On the grid of REFERENCE the interpolated field deviates from
    the transform by up to some tenths of a millimetre. With --tolerance, another grid is chosen: its planes match those
    of linear latent grids; for smooth transforms the values at its nodes are those between which interpolation fits
    best. The deviation is measured at 200,000 points and printed.

    \b
    nephi export -t result/transform.nephi -r fixed.nii.gz --format slicer -o warp_slicer.nii.gz
    nephi export -t result/transform.nephi -r moving.nii.gz --inverse --format h5 -o inverse.h5
    nephi export -t result/transform.nephi -r fixed.nii.gz --tolerance 0.05 --format itk -o warp.nii.gz
    """
    import nephi

    check_output(output, reference, *transforms)
    grid = nephi.io.read_grid(reference)
    transform = read_composed(transforms, inverse, grid.dimension, convention.read())
    require_dimension(reference, "voxels", grid.dimension, transform.dimension)
    nephi.transforms.warn_beyond_fields(transform, grid.corners_world(), str(reference))
    target = None
    if kind in IN_VOXELS:
        target = nephi.io.read_grid(moving) if moving else _target_grid(transforms, inverse)
    grid_text = f"on the grid of {reference}"
    if tolerance is not None:
        transform, grid, grid_text = _fitting_field(transform, grid, kind, tolerance)
    nephi.export_transform(transform, grid, output, kind, target)
    echo_verbose(verbose or tolerance is not None, quiet, f"{output}: {kind} transform {grid_text}")


def _fitting_field(transform: Transform, reference: Grid, kind: str, tolerance: float) -> tuple[Transform, Grid, str]:
    """Return a transform and a grid whose interpolated field is within the tolerance, and a description."""
    import nephi

    if kind in IN_VOXELS:
        raise nephi.UsageError(f"--tolerance: not available for {kind}, whose fields are on the grid of the reference")
    field = nephi.transforms.fitting_field(transform, reference, tolerance)
    deviation = f"deviation at most {field.deviation:.2g} mm at 200,000 points"
    return field.transform, field.grid, f"on {by(field.grid.shape)} nodes, {deviation}"


def _target_grid(transforms: tuple[Path, ...], inverse: bool) -> Grid | None:
    """Return the grid of the image to which points are mapped, if the transform applied last is a `.nephi` file."""
    import nephi

    last = transforms[0] if inverse else transforms[-1]
    if last.suffix.lower() != ".nephi":
        return None
    about = nephi.results.describe_transform(last)
    return about["fixed_grid" if inverse else "moving_grid"]
