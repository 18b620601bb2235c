"""`nephi jacobian`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import FILE, check_output, echo_verbose, label_names_option, require_dimension, verbosity_options
from .printing import echo, print_columns
from .transform_options import ConventionOptions, convention_options, read_composed, transform_option

if TYPE_CHECKING:
    from nephi import Grid, Image, Transform


@click.command(short_help="Compute the Jacobian determinant of a transform.")
@transform_option
@click.option(
    "-r", "--reference", type=FILE, help="Image on whose grid the Jacobian determinant is evaluated; default: --labels."
)
@click.option("-o", "--output", type=FILE, metavar="OUT", help="File for the determinants, float32.")
@click.option(
    "--labels", type=FILE, help="Label map of the fixed image (with --inverse: of the moving one): statistics of each."
)
@label_names_option
@click.option("--json", "table", type=FILE, metavar="OUT", help="Also write the statistics to a JSON file.")
@click.option("--log", "logarithm", is_flag=True, help="Write the natural logarithm; determinants below 1e-9 as 1e-9.")
@convention_options
@verbosity_options
def jacobian(
    transforms: tuple[Path, ...],
    inverse: bool,
    reference: Path | None,
    output: Path | None,
    labels: Path | None,
    label_names: Path | None,
    table: Path | None,
    logarithm: bool,
    convention: ConventionOptions,
    quiet: bool,
    verbose: bool,
) -> None:
    """Compute the Jacobian determinant of a transform at the voxel centres of REFERENCE.

    1: volume is preserved; 0.5: the surroundings of a fixed voxel have half their volume in the moving image; 0 or
    less: folding. With --labels, prints for each label its volume and that of its image under the transform, the mean,
    5 %, median and 95 % of the determinant, and the number of voxels that fold. For a result of `--initial
    auto-mirrored` determinants are relative to the reflection.

    \b
    nephi jacobian -t result/transform.nephi -r fixed.nii.gz -o volume_change.nii.gz
    nephi jacobian -t result/transform.nephi --labels fixed_labels.nii.gz --label-names LUT.txt --json volumes.json
    """
    import nephi

    _require_outputs(reference, output, labels, label_names, table)
    for path in (output, table):
        if path is not None:
            check_output(path, *transforms, *[file for file in (reference, labels, label_names) if file is not None])
    grid_file = reference or labels
    assert grid_file is not None
    grid = nephi.io.read_grid(grid_file)
    label_map = nephi.read_image(labels) if labels else None
    names = nephi.io.read_label_names(label_names) if label_names else {}
    transform = read_composed(transforms, inverse, grid.dimension, convention.read())
    require_dimension(grid_file, "voxels", grid.dimension, transform.dimension)
    if labels is not None and label_map is not None:
        require_dimension(labels, "voxels", label_map.dimension, transform.dimension)
    nephi.transforms.warn_beyond_fields(transform, grid.corners_world(), str(grid_file))
    image = None
    if output is not None:
        image = nephi.jacobian_image(transform, grid)
        nephi.write_image(image.with_data(image.data.clamp(min=1e-9).log()) if logarithm else image, output)
        low, high = float(image.data.min()), float(image.data.max())
        echo_verbose(verbose, quiet, f"{output}: determinants {low:.3f} to {high:.3f} on the grid of {grid_file}")
    if label_map is not None:
        statistics = _statistics(transform, image, label_map, names)
        if not quiet:
            _print_statistics(statistics, label_map.grid)
        if table is not None:
            nephi.io.write_text(table, json.dumps(statistics, indent=1) + "\n")


def _require_outputs(
    reference: Path | None, output: Path | None, labels: Path | None, label_names: Path | None, table: Path | None
) -> None:
    """Raise `UsageError` unless there is an output, a grid to compute it on, and labels for their options."""
    from nephi import UsageError

    if output is None and labels is None:
        raise UsageError("-o, --labels: expected a file for the determinants, a label map, or both, got neither")
    if reference is None and labels is None:
        raise UsageError("-r: expected an image on whose grid the determinant is evaluated, got none")
    if reference is not None and output is None:
        raise UsageError("-r: requires -o; the statistics of --labels are those of its own voxels")
    if labels is None and (label_names or table):
        raise UsageError("--label-names, --json: require --labels")


def _statistics(
    transform: Transform, determinants: Image | None, labels: Image, names: Mapping[int, str]
) -> dict[str, Any]:
    """Return statistics of each label as a dictionary for JSON; uses `determinants` on the grid of the labels."""
    import nephi

    if determinants is None or not determinants.grid.same_as(labels.grid):
        determinants = nephi.jacobian_image(transform, labels.grid)
    changes = nephi.metrics.volume_changes(determinants, labels)
    found = nephi.metrics.names_of(list(changes), names)
    power = labels.dimension
    return {
        str(label): {
            **({"name": found[label]} if label in found else {}),
            f"volume_before_mm{power}": change.before,
            f"volume_after_mm{power}": change.after,
            **{key: getattr(change, key) for key in ("voxels", "mean", "p05", "median", "p95", "folds")},
        }
        for label, change in changes.items()
    }


def _print_statistics(statistics: Mapping[str, Mapping[str, Any]], grid: Grid) -> None:
    """Print one line for each label; volumes in ml, areas in cm^2."""
    power, unit, scale = (3, "ml", 1e-3) if grid.dimension == 3 else (2, "cm^2", 1e-2)
    has_names = any("name" in each for each in statistics.values())
    quantity = "volume" if power == 3 else "area"
    header = ["label", *(["name"] if has_names else []), f"{quantity}, {unit}", "after", "change", "mean J", "5 %"]
    header += ["median", "95 %", "folds"]
    lines = []
    for label, each in statistics.items():
        before, after = each[f"volume_before_mm{power}"], each[f"volume_after_mm{power}"]
        line = [label, *([each.get("name", "-")] if has_names else [])]
        line += [f"{scale * before:.4g}", f"{scale * after:.4g}", f"{100 * (after / before - 1):+.1f} %"]
        lines.append([*line, *(f"{each[key]:.3f}" for key in ("mean", "p05", "median", "p95")), f"{each['folds']}"])
    echo("Jacobian determinant J in each label")
    print_columns(header, lines)
