"""`nephi evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .field_options import FieldOptions, field_options
from .options import FILE, check_output, inverted, read_one, require_dimension, verbosity_options
from .point_options import PointOptions, point_options
from .tables import evaluation_table

if TYPE_CHECKING:
    from nephi import Grid, Image, PointPairs


@click.command(short_help="Measure a transform.")
@click.option("-t", "--transform", type=FILE, required=True, metavar="TRANSFORM", help="The transform to measure.")
@click.option("--landmarks", type=FILE, help="CSV: id,fixed_x,fixed_y[,fixed_z],moving_x,... Or the fixed points.")
@click.option(
    "--moving-landmarks", type=FILE, help="The moving points, when in a second file; paired by id, else by order."
)
@point_options
@click.option("--moving-points-reference", type=FILE, help="The same for moving points, when not the same image.")
@click.option("--fixed-labels", type=FILE, help="Label map on the fixed side.")
@click.option("--moving-labels", type=FILE, help="Label map on the moving side.")
@click.option("--mask", type=FILE, help="Where folding and inverse consistency are measured (above 0), fixed side.")
@click.option("--json", "output", type=FILE, metavar="OUT", help="Also write all numbers to a JSON file.")
@field_options
@verbosity_options
def evaluate(
    transform: Path,
    landmarks: Path | None,
    moving_landmarks: Path | None,
    reader: PointOptions,
    moving_points_reference: Path | None,
    fixed_labels: Path | None,
    moving_labels: Path | None,
    mask: Path | None,
    output: Path | None,
    fields: FieldOptions,
    quiet: bool,
    verbose: bool,
) -> None:
    """Measure how good a transform is: landmark errors (TRE), Dice, folding, inverse consistency.

    Landmarks are used as they are, nothing is rounded to voxels. Folding and inverse consistency are measured at the
    voxel centres of the mask, else of the whole fixed grid. -v adds every landmark's error.

    \b
    nephi evaluate -t result/transform.nephi --landmarks landmarks.csv --mask fixed_mask.nii.gz
    nephi evaluate -t result/transform.nephi --landmarks fixed.mrk.json --moving-landmarks moving.mrk.json
    """
    import nephi

    if moving_landmarks is not None and landmarks is None:
        raise nephi.UsageError("--moving-landmarks needs --landmarks, the fixed points")
    if (fixed_labels is None) != (moving_labels is None):
        raise nephi.UsageError("--fixed-labels and --moving-labels go together: give both or neither")

    if output is not None:
        named = (transform, landmarks, moving_landmarks, fixed_labels, moving_labels, mask)
        check_output(output, *[path for path in named if path is not None])
    convention = fields.convention()
    file, is_inverse = inverted(transform)
    measured = read_one(transform, convention=convention)
    grid = None if is_inverse else nephi.results.transform_grid(file, convention)
    if (grid, landmarks, fixed_labels, mask) == (None,) * 4:
        raise nephi.UsageError(f"{transform}: nothing to measure it at; give --landmarks, --mask or label maps")

    def image(path: Path | None) -> Image | None:
        if path is None:
            return None
        found = nephi.read_image(path)
        require_dimension(path, "voxels", found.dimension, measured.dimension)
        return found

    pairs = _pairs(landmarks, moving_landmarks, reader, moving_points_reference)
    if landmarks and pairs:
        require_dimension(landmarks, "landmarks", pairs.fixed.dimension, measured.dimension)
    measures: dict[str, Any] = nephi.evaluate(
        measured,
        grid=grid,
        moving_grid=_moving_grid(file, is_inverse, moving_points_reference),
        landmarks=pairs,
        fixed_labels=image(fixed_labels),
        moving_labels=image(moving_labels),
        mask=image(mask),
        inverse=read_one(transform, True, convention),
        trained_inverse=None if is_inverse else nephi.results.read_trained_inverse(file),
        exported=None if is_inverse else nephi.results.read_exported_fields(file),
    ).table()
    if not quiet:
        evaluation_table(measures, verbose)
    if output is not None:
        nephi.io.write_text(output, json.dumps(measures, indent=1) + "\n")


def _moving_grid(transform: Path, is_inverse: bool, reference: Path | None) -> Grid | None:
    """Return the grid of the moving image: of the one its points are counted in, or that a .nephi file was made for."""
    import nephi

    if reference is not None:
        return nephi.read_image(reference).grid
    return None if is_inverse or transform.suffix != ".nephi" else nephi.fields.read_nephi(transform).moving_grid


def _pairs(fixed: Path | None, moving: Path | None, reader: PointOptions, reference: Path | None) -> PointPairs | None:
    """Return the landmarks of one CSV file, or of one file for each side."""
    import nephi

    if fixed is None:
        return None
    if moving is None:
        if reader.format not in (None, "csv") or fixed.suffix.lower() in (".json", ".fcsv"):
            raise nephi.UsageError(f"{fixed}: holds points of one image; give the other's with --moving-landmarks")
        return nephi.read_point_pairs(fixed, reader.frame)
    sides = (reader.read(fixed), reader.read(moving, reference))
    try:
        return nephi.PointPairs(*sides)
    except nephi.DataError as error:
        raise nephi.DataError(f"{fixed}, {moving}: {error}") from None
