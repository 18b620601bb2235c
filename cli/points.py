"""`nephi points`."""

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
from .point_options import PointOptions, point_options


@click.command(short_help="Take points through transforms.")
@transform_option
@click.option("-i", "--input", "source", type=FILE, required=True, metavar="POINTS", help="File of points.")
@click.option("-o", "--output", type=FILE, required=True, metavar="OUT", help="File for the mapped points.")
@point_options
@field_options
@verbosity_options
def points(
    transforms: tuple[Path, ...],
    inverse: bool,
    source: Path,
    output: Path,
    reader: PointOptions,
    fields: FieldOptions,
    quiet: bool,
    verbose: bool,
) -> None:
    """Take the points of a file through a transform.

    Read: CSV (id,x,y[,z] in mm), .mrk.json and .fcsv of 3-D Slicer, point files of elastix, voxels of DIR-Lab. Written:
    the same by OUT's suffix (.csv, .mrk.json, .fcsv, .pts for elastix).

    Points go the other way round than images: a registration's transform takes FIXED points to the moving image;
    --inverse takes MOVING points to the fixed image.

    \b
    nephi points -t result/transform.nephi -i fixed_landmarks.csv -o in_moving.csv
    nephi points -t result/transform.nephi --inverse -i moving_landmarks.csv -o in_fixed.csv
    """
    import nephi

    check_output(output, source, *transforms)
    given = reader.read(source)
    transform = read_chain(transforms, inverse, given.dimension, fields.convention())
    require_dimension(source, "points", given.dimension, transform.dimension)
    nephi.transforms.warn_beyond_fields(transform, given.coordinates, str(source))
    nephi.write_points(output, given.mapped(transform), reader.frame)
    announce(verbose, quiet, f"{output}: {len(given)} points of {source}, {reader.frame.upper()} mm")
