"""`nephi jacobian`."""

from __future__ import annotations

from pathlib import Path

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


@click.command(short_help="Write the map of local volume change.")
@transform_option
@click.option("-r", "--reference", type=FILE, required=True, help="Image whose voxel centres are asked.")
@click.option("-o", "--output", type=FILE, required=True, metavar="OUT", help="File for the map, float32.")
@click.option("--log", "logarithm", is_flag=True, help="Write the natural logarithm (determinants below 1e-9 as 1e-9).")
@field_options
@verbosity_options
def jacobian(
    transforms: tuple[Path, ...],
    inverse: bool,
    reference: Path,
    output: Path,
    logarithm: bool,
    fields: FieldOptions,
    quiet: bool,
    verbose: bool,
) -> None:
    """Write the Jacobian determinant of a transform on the grid of REFERENCE.

    1 keeps volume; 0.5 means that a fixed voxel's surroundings occupy half their volume in the moving image; 0 or less
    is a fold.

    \b
    nephi jacobian -t result/transform.nephi -r fixed.nii.gz -o volume_change.nii.gz
    """
    import nephi

    check_output(output, reference, *transforms)
    grid = nephi.io.read_grid(reference)
    transform = read_chain(transforms, inverse, grid.dimension, fields.convention())
    require_dimension(reference, "voxels", grid.dimension, transform.dimension)
    nephi.transforms.warn_beyond_fields(transform, grid.corners_world(), str(reference))
    image = nephi.jacobian_image(transform, grid)
    nephi.write_image(image.with_data(image.data.clamp(min=1e-9).log()) if logarithm else image, output)
    low, high = float(image.data.min()), float(image.data.max())
    announce(verbose, quiet, f"{output}: determinants {low:.3f} to {high:.3f} on the grid of {reference}")
