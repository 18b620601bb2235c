"""`nephi apply`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .field_options import FieldOptions, field_options
from .options import (
    FILE,
    announce,
    check_output,
    inverted,
    read_chain,
    require_dimension,
    transform_option,
    verbosity_options,
)

if TYPE_CHECKING:
    from nephi import Grid, Image
    from nephi.io import Series


@click.command(short_help="Warp an image through transforms.")
@transform_option
@click.option("-i", "--image", type=FILE, required=True, help="Image to warp: 2-D, 3-D, or a 4-D series.")
@click.option(
    "-r",
    "--reference",
    type=FILE,
    required=True,
    help="File on whose grid the result lies: an image, a 4-D series or a field.",
)
@click.option("-o", "--output", type=FILE, required=True, metavar="OUT", help="File for the warped image.")
@click.option(
    "--header-from",
    type=FILE,
    help="Image whose grid the voxels of -i lie on, instead of that of its own header, which was lost.",
)
@click.option(
    "--interpolation",
    type=click.Choice(["linear", "nearest", "bspline", "label"]),
    default="linear",
    show_default=True,
    help="`label` and `nearest` are the ones for label maps.",
)
@click.option(
    "--outside",
    type=float,
    metavar="VALUE",
    help="Value of voxels from outside the image. Default: 0 with `label` and `nearest`; else the value stored in the "
    ".nephi that leads to the image (-1024 with the CT presets), 0 with other transforms.",
)
@field_options
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
    fields: FieldOptions,
    quiet: bool,
    verbose: bool,
) -> None:
    """Warp IMAGE onto the grid of REFERENCE: OUT(x) = IMAGE(transform(x)).

    With a registration's transform IMAGE belongs to the moving side and REFERENCE to the fixed side; with --inverse
    the other way round. Several transforms stand in ANTs' order, `-t warp -t affine`: points of the reference go
    through the first, then the second; the image comes the other way.

    \b
    nephi apply -t result/transform.nephi -i labels.nii.gz -r fixed.nii.gz -o warped.nii.gz --interpolation label
    nephi apply -t result/transform.nephi --inverse -i fixed.nii.gz -r moving.nii.gz -o back.nii.gz
    nephi apply -t identity -i mask.nii.gz -r fixed.nii.gz -o mask_on_its_grid.nii.gz --interpolation label
    nephi apply -t identity -i mask.nii.gz --header-from fixed.nii.gz -r fixed.nii.gz -o mask_with_header.nii.gz
    """
    import nephi

    check_output(output, image, reference, *transforms, *([header_from] if header_from else []))
    series = nephi.io.read_series(image)
    grid = nephi.io.read_grid(reference)
    placed = series.grid if header_from is None else _header(header_from, image, series)
    transform = read_chain(transforms, inverse, grid.dimension, fields.convention())
    for name, dimension in ((image, placed.dimension), (reference, grid.dimension)):
        require_dimension(name, "voxels", dimension, transform.dimension)
    nephi.transforms.warn_beyond_fields(transform, grid.corners_world(), str(reference))

    def warped(source: Series) -> Iterator[Image]:
        value = outside
        for volume in source:
            if value is None:
                value = _outside(transforms, inverse, interpolation, volume)
            yield nephi.resample(volume.with_grid(placed), grid, transform, interpolation, value)

    if len(series) == 1:
        nephi.write_image(next(warped(series)), output)
    else:
        nephi.io.write_series(output, warped(series), len(series), series)
    announce(verbose, quiet, f"{output}: {image} on the grid of {reference}, {len(series)} volume(s), {interpolation}")


def _header(path: Path, image: Path, series: Series) -> Grid:
    """Return the grid that the voxels of an image with a lost header lie on; raise `DataError` if they do not fit."""
    import nephi

    grid = nephi.io.read_grid(path)
    if grid.shape != series.grid.shape:
        raise nephi.DataError(f"{image}: expected {grid.shape} voxels as {path} has, found {series.grid.shape}")
    return grid


def _outside(transforms: tuple[Path, ...], inverse: bool, interpolation: str, image: Image) -> float:
    """Return the value outside that the `.nephi` stores which acts last; 0 where no transform of the chain is one."""
    import nephi

    files = [inverted(path)[0] for path in (transforms if inverse else reversed(transforms))]
    stored = next((file for file in files if file.suffix.lower() == ".nephi"), None)
    return 0.0 if stored is None else nephi.results.outside_value(stored, interpolation, image)
