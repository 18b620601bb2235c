"""`nephi points`."""

from __future__ import annotations

from pathlib import Path

import click

from .options import FILE, check_output, echo_verbose, require_dimension, verbosity_options
from .point_options import PointOptions, point_options
from .transform_options import ConventionOptions, convention_options, read_composed, transform_option


@click.command(short_help="Map points by transforms.")
@transform_option
@click.option("-i", "--input", "source", type=FILE, required=True, metavar="POINTS", help="File of points.")
@click.option("-o", "--output", type=FILE, required=True, metavar="OUT", help="File for the mapped points.")
@point_options
@convention_options
@verbosity_options
def points(
    transforms: tuple[Path, ...],
    inverse: bool,
    source: Path,
    output: Path,
    point_options: PointOptions,
    convention: ConventionOptions,
    quiet: bool,
    verbose: bool,
) -> None:
    """Map the points of a file by a transform.

    Input: CSV (id,x,y[,z] in mm), .mrk.json and .fcsv of 3-D Slicer, point files of elastix, voxel indices of DIR-Lab.
    Output format by the suffix of OUT: .csv, .mrk.json, .fcsv, or .pts for elastix.

    The transform of a registration maps FIXED points to the moving image, the opposite direction of images; --inverse
    maps MOVING points to the fixed image.

    \b
    nephi points -t result/transform.nephi -i fixed_landmarks.csv -o in_moving.csv
    nephi points -t result/transform.nephi --inverse -i moving_landmarks.csv -o in_fixed.csv
    """
    import nephi

    check_output(output, source, *transforms)
    original = point_options.read(source)
    transform = read_composed(transforms, inverse, original.dimension, convention.read())
    require_dimension(source, "points", original.dimension, transform.dimension)
    nephi.transforms.warn_beyond_fields(transform, original.coordinates, str(source))
    nephi.write_points(output, original.mapped(transform), point_options.frame)
    frame = point_options.frame.upper()
    echo_verbose(verbose, quiet, f"{output}: {len(original)} points of {source}, {frame} mm")
