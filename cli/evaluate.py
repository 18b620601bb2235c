"""`nephi evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .evaluation_tables import print_evaluation
from .options import FILE, check_output, label_names_option, require_dimension, verbosity_options
from .point_options import PointOptions, point_options
from .transform_options import ConventionOptions, convention_options, parse_inverse, read_one

if TYPE_CHECKING:
    from nephi import Grid, Image, PointPairs, Transform
    from nephi.io import FieldConvention


@click.command(short_help="Evaluate a transform: TRE, Dice, surfaces, folding, inverse consistency.")
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
@label_names_option
@click.option(
    "--mask",
    type=FILE,
    help="Region of the fixed image (voxels above 0) to measure folding and inverse consistency in.",
)
@click.option(
    "--folding",
    is_flag=True,
    help="Measure folding and inverse consistency on the whole fixed grid, too, if only landmarks are given.",
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
    label_names: Path | None,
    mask: Path | None,
    folding: bool,
    output: Path | None,
    convention: ConventionOptions,
    quiet: bool,
    verbose: bool,
) -> None:
    """Evaluate a transform: landmark errors, overlap and surfaces of labels, folding and inverse consistency.

    Landmarks are not rounded to voxels. Labels are compared on the grid of the fixed ones: Dice, and the distance
    between the surfaces (mean, and 95th percentile of the worse direction). Folding and inverse consistency are
    measured at the voxel centres of the mask, or of the whole fixed grid, which takes most of the time: not with
    landmarks alone, unless by --folding. -v prints the error of every landmark.

    \b
    nephi evaluate -t result/transform.nephi --landmarks landmarks.csv
    nephi evaluate -t result/transform.nephi --landmarks landmarks.csv --mask fixed_mask.nii.gz
    nephi evaluate -t result/transform.nephi --fixed-labels f.nii.gz --moving-labels m.nii.gz --label-names LUT.txt
    nephi evaluate -t result/transform.nephi --landmarks fixed.mrk.json --moving-landmarks moving.mrk.json
    """
    import nephi

    if moving_landmarks is not None and landmarks is None:
        raise nephi.UsageError("--moving-landmarks: requires --landmarks, the fixed points")
    if (fixed_labels is None) != (moving_labels is None):
        raise nephi.UsageError("--fixed-labels, --moving-labels: expected both or neither, got one")
    if label_names is not None and fixed_labels is None:
        raise nephi.UsageError("--label-names: requires --fixed-labels and --moving-labels")
    if output is not None:
        inputs = (transform, landmarks, moving_landmarks, fixed_labels, moving_labels, label_names, mask)
        check_output(output, *[path for path in inputs if path is not None])
    field_convention = convention.read()
    file, is_inverse = parse_inverse(transform)
    evaluated = read_one(transform, convention=field_convention)
    grid = None if is_inverse else _fixed_grid(file, evaluated)
    if (grid, fixed_labels, mask) == (None,) * 3 and (landmarks is None or folding):
        expected = "--mask or label maps" if folding else "--landmarks, --mask or label maps"
        raise nephi.UsageError(f"{transform}: has no grid; expected {expected}")

    def read_image(path: Path | None) -> Image | None:
        if path is None:
            return None
        loaded = nephi.read_image(path)
        require_dimension(path, "voxels", loaded.dimension, evaluated.dimension)
        return loaded

    pairs = _read_pairs(landmarks, moving_landmarks, point_options, moving_points_reference)
    if landmarks and pairs:
        require_dimension(landmarks, "landmarks", pairs.fixed.dimension, evaluated.dimension)
    names = nephi.io.read_label_names(label_names) if label_names else None
    on_grid = folding or mask is not None or fixed_labels is not None or landmarks is None
    measures: dict[str, Any] = nephi.evaluate(
        evaluated,
        grid=grid if on_grid else None,
        fixed_grid=grid,
        moving_grid=_moving_grid(file, is_inverse, moving_points_reference),
        landmarks=pairs,
        fixed_labels=read_image(fixed_labels),
        moving_labels=read_image(moving_labels),
        label_names=names,
        mask=read_image(mask),
        **(_inverses(transform, field_convention) if on_grid else {}),
    ).table()
    if not quiet:
        print_evaluation(measures, verbose)
    if output is not None:
        nephi.io.write_text(output, json.dumps(measures, indent=1) + "\n")


def _fixed_grid(file: Path, transform: Transform) -> Grid | None:
    """Return the fixed grid of a `.nephi` file, or the grid of a field, without reading the field a second time."""
    import nephi

    if isinstance(transform, nephi.DisplacementField):
        return transform.grid
    return nephi.results.transform_grid(file) if file.suffix.lower() == ".nephi" else None


def _inverses(transform: Path, convention: FieldConvention | None) -> dict[str, Any]:
    """Return the inverses of `nephi.evaluate`: refined, unrefined, and the exported fields next to a `.nephi` file."""
    import nephi

    file, is_inverse = parse_inverse(transform)
    return {
        "inverse": read_one(transform, True, convention),
        "unrefined_inverse": None if is_inverse else nephi.results.read_unrefined_inverse(file),
        "exported": None if is_inverse else nephi.results.read_exported_fields(file),
    }


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
