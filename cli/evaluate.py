"""`nephi evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import FILE, check_output, require_dimension, verbosity_options
from .point_options import PointOptions, point_options
from .printing import print_evaluation
from .transform_options import ConventionOptions, convention_options, parse_inverse, read_one

if TYPE_CHECKING:
    from nephi import Grid, Image, PointPairs


@click.command(short_help="Evaluate a transform: TRE, Dice, folding, inverse consistency.")
@click.option("-t", "--transform", type=FILE, required=True, metavar="TRANSFORM", help="Transform to evaluate.")
@click.option(
    "--landmarks",
    type=FILE,
    help="CSV of landmark pairs (id,fixed_x,fixed_y[,fixed_z],moving_x,...), or file of the fixed points.",
)
@click.option(
    "--moving-landmarks",
    type=FILE,
    help="File of the moving points, if --landmarks has only the fixed ones; paired by id, without ids by order.",
)
@point_options
@click.option(
    "--moving-points-reference",
    type=FILE,
    help="Image to which voxel coordinates of the moving points refer, if not --points-reference.",
)
@click.option("--fixed-labels", type=FILE, help="Label map of the fixed image.")
@click.option("--moving-labels", type=FILE, help="Label map of the moving image.")
@click.option(
    "--mask",
    type=FILE,
    help="Region of the fixed image (voxels above 0) to measure folding and inverse consistency in.",
)
@click.option("--json", "output", type=FILE, metavar="OUT", help="Also write all measures to a JSON file.")
@convention_options
@verbosity_options
def evaluate(
    transform: Path,
    landmarks: Path | None,
    moving_landmarks: Path | None,
    point_options: PointOptions,
    moving_points_reference: Path | None,
    fixed_labels: Path | None,
    moving_labels: Path | None,
    mask: Path | None,
    output: Path | None,
    convention: ConventionOptions,
    quiet: bool,
    verbose: bool,
) -> None:
    """Evaluate a transform: target registration error (TRE), Dice, folding and inverse consistency.

    Landmarks are not rounded to voxels. Folding and inverse consistency are measured at the voxel centres of the mask,
    or of the whole fixed grid. -v prints the error of every landmark.

    \b
    nephi evaluate -t result/transform.nephi --landmarks landmarks.csv --mask fixed_mask.nii.gz
    nephi evaluate -t result/transform.nephi --landmarks fixed.mrk.json --moving-landmarks moving.mrk.json
    """
    import nephi

    if moving_landmarks is not None and landmarks is None:
        raise nephi.UsageError("--moving-landmarks: requires --landmarks, the fixed points")
    if (fixed_labels is None) != (moving_labels is None):
        raise nephi.UsageError("--fixed-labels, --moving-labels: expected both or neither, got one")
    if output is not None:
        inputs = (transform, landmarks, moving_landmarks, fixed_labels, moving_labels, mask)
        check_output(output, *[path for path in inputs if path is not None])
    field_convention = convention.read()
    file, is_inverse = parse_inverse(transform)
    evaluated = read_one(transform, convention=field_convention)
    grid = None if is_inverse else nephi.results.transform_grid(file, field_convention)
    if (grid, landmarks, fixed_labels, mask) == (None,) * 4:
        raise nephi.UsageError(f"{transform}: has no grid; expected --landmarks, --mask or label maps")

    def read_image(path: Path | None) -> Image | None:
        if path is None:
            return None
        loaded = nephi.read_image(path)
        require_dimension(path, "voxels", loaded.dimension, evaluated.dimension)
        return loaded

    pairs = _read_pairs(landmarks, moving_landmarks, point_options, moving_points_reference)
    if landmarks and pairs:
        require_dimension(landmarks, "landmarks", pairs.fixed.dimension, evaluated.dimension)
    measures: dict[str, Any] = nephi.evaluate(
        evaluated,
        grid=grid,
        moving_grid=_moving_grid(file, is_inverse, moving_points_reference),
        landmarks=pairs,
        fixed_labels=read_image(fixed_labels),
        moving_labels=read_image(moving_labels),
        mask=read_image(mask),
        inverse=read_one(transform, True, field_convention),
        unrefined_inverse=None if is_inverse else nephi.results.read_unrefined_inverse(file),
        exported=None if is_inverse else nephi.results.read_exported_fields(file),
    ).table()
    if not quiet:
        print_evaluation(measures, verbose)
    if output is not None:
        nephi.io.write_text(output, json.dumps(measures, indent=1) + "\n")


def _moving_grid(transform: Path, is_inverse: bool, reference: Path | None) -> Grid | None:
    """Return the grid of the moving image: that of the reference of its points, or the one stored in a .nephi file."""
    import nephi

    if reference is not None:
        return nephi.read_image(reference).grid
    return None if is_inverse or transform.suffix != ".nephi" else nephi.fields.read_nephi(transform).moving_grid


def _read_pairs(
    fixed: Path | None, moving: Path | None, point_options: PointOptions, reference: Path | None
) -> PointPairs | None:
    """Read landmark pairs from one CSV file, or from a file of fixed points and one of moving points."""
    import nephi

    if fixed is None:
        return None
    if moving is None:
        if point_options.format not in (None, "csv") or fixed.suffix.lower() in (".json", ".fcsv"):
            raise nephi.UsageError(f"{fixed}: has the points of one image; add the other's with --moving-landmarks")
        return nephi.read_point_pairs(fixed, point_options.frame)
    points = (point_options.read(fixed), point_options.read(moving, reference))
    try:
        return nephi.PointPairs(*points)
    except nephi.DataError as error:
        raise nephi.DataError(f"{fixed}, {moving}: {error}") from None
