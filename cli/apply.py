"""`nephi apply`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import FILE, check_output, echo_verbose, require_dimension, verbosity_options
from .transform_options import (
    ConventionOptions,
    convention_options,
    parse_inverse,
    read_composed,
    transform_option,
)

if TYPE_CHECKING:
    from nephi import Grid, Image
    from nephi.io import Series


@click.command(short_help="Warp an image by transforms.")
@transform_option
@click.option("-i", "--image", type=FILE, required=True, help="Image to warp: 2-D, 3-D, or a 4-D series.")
@click.option(
    "-r",
    "--reference",
    type=FILE,
    required=True,
    help="File with the grid of the warped image: an image, a 4-D series or a displacement field.",
)
@click.option("-o", "--output", type=FILE, required=True, metavar="OUT", help="File for the warped image.")
@click.option(
    "--header-from",
    type=FILE,
    help="Image whose header replaces that of -i, if the latter is wrong; both have the same size in voxels.",
)
@click.option(
    "--interpolation",
    type=click.Choice(["linear", "nearest", "bspline", "label"]),
    default="linear",
    show_default=True,
    help="For label maps use `label` or `nearest`.",
)
@click.option(
    "--outside",
    type=float,
    metavar="VALUE",
    help="Value of voxels that map outside the image. Default: 0 with `label` and `nearest`; otherwise the value that "
    "a .nephi transform stores (-1024 with the CT presets), or 0 for other transforms.",
)
@convention_options
@verbosity_options
def apply(
    transforms: tuple[Path, ...],
    inverse: bool,
    image: Path,
    reference: Path,
    output: Path,
    header_from: Path | None,
    interpolation: str,
    outside: float | None,
    convention: ConventionOptions,
    quiet: bool,
    verbose: bool,
) -> None:
    """Warp IMAGE onto the grid of REFERENCE: OUT(x) = IMAGE(transform(x)).

    With the transform of a registration, IMAGE is of the moving side and REFERENCE of the fixed side; with --inverse,
    vice versa. Several transforms are given in ANTs' order, `-t warp -t affine`: points of the reference are mapped by
    the first transform first.

    \b
    nephi apply -t result/transform.nephi -i labels.nii.gz -r fixed.nii.gz -o warped.nii.gz --interpolation label
    nephi apply -t result/transform.nephi --inverse -i fixed.nii.gz -r moving.nii.gz -o back.nii.gz
    nephi apply -t identity -i mask.nii.gz -r fixed.nii.gz -o mask_on_fixed_grid.nii.gz --interpolation label
    nephi apply -t identity -i mask.nii.gz --header-from fixed.nii.gz -r fixed.nii.gz -o mask_with_header.nii.gz
    """
    import nephi

    check_output(output, image, reference, *transforms, *([header_from] if header_from else []))
    series = nephi.io.read_series(image)
    grid = nephi.io.read_grid(reference)
    image_grid = series.grid if header_from is None else _read_header(header_from, image, series)
    transform = read_composed(transforms, inverse, grid.dimension, convention.read())
    for path, dimension in ((image, image_grid.dimension), (reference, grid.dimension)):
        require_dimension(path, "voxels", dimension, transform.dimension)
    nephi.transforms.warn_beyond_fields(transform, grid.corners_world(), str(reference))

    def warp(source: Series) -> Iterator[Image]:
        value = outside
        for volume in source:
            if value is None:
                value = _outside_value(transforms, inverse, interpolation, volume)
            yield nephi.resample(volume.with_grid(image_grid), grid, transform, interpolation, value)

    if len(series) == 1:
        nephi.write_image(next(warp(series)), output)
    else:
        nephi.io.write_series(output, warp(series), len(series), series)
    volumes = "1 volume" if len(series) == 1 else f"{len(series)} volumes"
    echo_verbose(verbose, quiet, f"{output}: {image} on the grid of {reference}, {volumes}, {interpolation}")


def _read_header(path: Path, image: Path, series: Series) -> Grid:
    """Return the grid of `path` for the voxels of an image with a wrong header.

    Raises `DataError` for another number of voxels.
    """
    import nephi

    grid = nephi.io.read_grid(path)
    if grid.shape != series.grid.shape:
        raise nephi.DataError(f"{image}: expected {grid.shape} voxels, as in {path}, got {series.grid.shape}")
    return grid


def _outside_value(transforms: tuple[Path, ...], inverse: bool, interpolation: str, image: Image) -> float:
    """Return the outside value stored in the last applied `.nephi` transform, 0 without one."""
    import nephi

    files = [parse_inverse(path)[0] for path in (transforms if inverse else reversed(transforms))]
    stored = next((file for file in files if file.suffix.lower() == ".nephi"), None)
    return 0.0 if stored is None else nephi.results.outside_value(stored, interpolation, image)
