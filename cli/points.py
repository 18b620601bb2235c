"""`nephi points`."""

from __future__ import annotations

from pathlib import Path

import click

from .field_options import FieldOptions, field_options
from .options import (
    FILE,
    announce,
    frame_option,
    read_chain,
    require_dimension,
    transform_option,
    verbosity_options,
)


@click.command(short_help="Take points through transforms.")
@transform_option
@click.option("-i", "--input", "source", type=FILE, required=True, metavar="POINTS", help="CSV with id,x,y[,z].")
@click.option("-o", "--output", type=FILE, required=True, metavar="OUT", help="CSV for the mapped points.")
@frame_option
@field_options
@verbosity_options
def points(
    transforms: tuple[Path, ...],
    inverse: bool,
    source: Path,
    output: Path,
    frame: str,
    fields: FieldOptions,
    quiet: bool,
    verbose: bool,
) -> None:
    """Take the points of a CSV file (id,x,y[,z] in mm) through a transform.

    Points go the other way round than images: a registration's transform takes FIXED points to the moving image;
    --inverse takes MOVING points to the fixed image.

    \b
    nephi points -t result/transform.nephi -i fixed_landmarks.csv -o in_moving.csv
    nephi points -t result/transform.nephi --inverse -i moving_landmarks.csv -o in_fixed.csv
    """
    import nephi

    given = nephi.read_points(source, frame)
    transform = read_chain(transforms, inverse, fields.convention())
    require_dimension(source, "points", given.dimension, transform.dimension)
    nephi.write_points(output, given.mapped(transform), frame)
    announce(verbose, quiet, f"{output}: {len(given)} points of {source}, {frame.upper()} mm")
