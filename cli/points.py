"""`nephi points`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .evaluation_tables import tre_rows
from .options import FILE, check_output, echo_verbose, require_dimension, verbosity_options
from .point_options import PointOptions, point_options
from .printing import print_rows
from .transform_options import ConventionOptions, convention_options, read_composed, transform_option

if TYPE_CHECKING:
    from nephi import PointPairs


@click.command(short_help="Map points by transforms.")
@transform_option
@click.option("-i", "--input", "source", type=FILE, required=True, metavar="POINTS", help="File of points.")
@click.option("-o", "--output", type=FILE, required=True, metavar="OUT", help="File for the mapped points.")
@click.option(
    "--errors",
    is_flag=True,
    help="Of landmark pairs: print the distances between the mapped points and those of the other image.",
)
@point_options
@convention_options
@verbosity_options
def points(
    transforms: tuple[Path, ...],
    inverse: bool,
    source: Path,
    output: Path,
    errors: bool,
    point_options: PointOptions,
    convention: ConventionOptions,
    quiet: bool,
    verbose: bool,
) -> None:
    """Map the points of a file by a transform.

    Input: CSV (id,x,y[,z] in mm), .mrk.json and .fcsv of 3-D Slicer, point files of elastix, voxel indices of DIR-Lab;
    or landmark pairs (CSV, id,fixed_x,...,moving_x,...), of which the fixed points are mapped, by --inverse the moving.
    Output format by the suffix of OUT: .csv, .mrk.json, .fcsv, or .pts for elastix.

    The transform of a registration maps FIXED points to the moving image, the opposite direction of images; --inverse
    maps MOVING points to the fixed image.

    \b
    nephi points -t result/transform.nephi -i fixed_landmarks.csv -o in_moving.csv
    nephi points -t result/transform.nephi --inverse -i moving_landmarks.csv -o in_fixed.csv
    nephi points -t result/transform.nephi -i landmarks.csv -o in_moving.csv --errors
    """
    import nephi

    check_output(output, source, *transforms)
    pairs = _read_pairs(source, point_options, inverse)
    if errors and pairs is None:
        raise nephi.UsageError(
            f"--errors: requires landmark pairs (fixed_x,...,moving_x,...), got the points of {source}"
        )
    original = point_options.read(source) if pairs is None else pairs.fixed
    transform = read_composed(transforms, inverse, original.dimension, convention.read())
    require_dimension(source, "points", original.dimension, transform.dimension)
    nephi.transforms.warn_beyond_fields(transform, original.coordinates, str(source))
    nephi.write_points(output, original.mapped(transform), point_options.frame)
    if errors and pairs is not None and not quiet:
        distances = nephi.landmark_errors(transform, pairs)
        print_rows(f"{source}: distances of mapped points", tre_rows(distances.table(), verbose))
    frame = point_options.frame.upper()
    echo_verbose(verbose, quiet, f"{output}: {len(original)} points of {source}, {frame} mm")


def _read_pairs(path: Path, options: PointOptions, inverse: bool) -> PointPairs | None:
    """Read landmark pairs, the points to be mapped as the fixed ones; None for a file of the points of one image."""
    import nephi

    if options.format not in (None, "csv") or not nephi.io.has_point_pairs(path):
        return None
    pairs = nephi.read_point_pairs(path, options.frame)
    fixed, moving = pairs.fixed, pairs.moving
    return nephi.PointPairs.from_coordinates(moving.coordinates, fixed.coordinates, fixed.ids) if inverse else pairs
