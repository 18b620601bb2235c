"""`nephi jacobian`."""

from __future__ import annotations

from pathlib import Path

import click

from .options import FILE, check_output, echo_verbose, require_dimension, verbosity_options
from .transform_options import ConventionOptions, convention_options, read_composed, transform_option


@click.command(short_help="Compute the Jacobian determinant of a transform.")
@transform_option
@click.option(
    "-r", "--reference", type=FILE, required=True, help="Image on whose grid the Jacobian determinant is evaluated."
)
@click.option("-o", "--output", type=FILE, required=True, metavar="OUT", help="File for the determinants, float32.")
@click.option("--log", "logarithm", is_flag=True, help="Write the natural logarithm; determinants below 1e-9 as 1e-9.")
@convention_options
@verbosity_options
def jacobian(
    transforms: tuple[Path, ...],
    inverse: bool,
    reference: Path,
    output: Path,
    logarithm: bool,
    convention: ConventionOptions,
    quiet: bool,
    verbose: bool,
) -> None:
    """Compute the Jacobian determinant of a transform at the voxel centres of REFERENCE.

    1: volume is preserved; 0.5: the surroundings of a fixed voxel have half their volume in the moving image; 0 or
    less: folding.

    \b
    nephi jacobian -t result/transform.nephi -r fixed.nii.gz -o volume_change.nii.gz
    """
    import nephi

    check_output(output, reference, *transforms)
    grid = nephi.io.read_grid(reference)
    transform = read_composed(transforms, inverse, grid.dimension, convention.read())
    require_dimension(reference, "voxels", grid.dimension, transform.dimension)
    nephi.transforms.warn_beyond_fields(transform, grid.corners_world(), str(reference))
    image = nephi.jacobian_image(transform, grid)
    nephi.write_image(image.with_data(image.data.clamp(min=1e-9).log()) if logarithm else image, output)
    low, high = float(image.data.min()), float(image.data.max())
    echo_verbose(verbose, quiet, f"{output}: determinants {low:.3f} to {high:.3f} on the grid of {reference}")
