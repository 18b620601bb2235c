"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .printing import echo_line

if TYPE_CHECKING:
    from nephi import Transform
    from nephi.io import FieldConvention

FILE = click.Path(path_type=Path)
IDENTITY = Path("identity")  # ANTs' word, too
Command = Callable[..., Any]
device_option = click.option(
    "--device", metavar="auto|cpu|cuda[:N]", default="auto", show_default=True, help="Where to compute."
)


def transform_option(command: Command) -> Command:
    """Add `-t`, one or more transforms in ANTs' order, and `--inverse`."""
    command = click.option(
        "-t",
        "--transform",
        "transforms",
        type=FILE,
        multiple=True,
        required=True,
        metavar="TRANSFORM",
        help=".nephi; a field, affine or chain of ITK, ANTs, elastix, ...; or `identity`. Several go in ANTs' order: "
        "points pass through the first one first (-t warp -t affine). '[FILE,1]' is the inverse of FILE.",
    )(command)
    return click.option("--inverse", is_flag=True, help="Use the inverse of the whole chain.")(command)


def frame_option(command: Command) -> Command:
    """Add `--frame`, the frame of a points file."""
    return click.option(
        "--frame",
        type=click.Choice(["lps", "ras"]),
        default="lps",
        show_default=True,
        help="Frame of the coordinates, in mm: LPS (ITK, ANTs, DICOM) or RAS (NIfTI, Slicer's view).",
    )(command)


def verbosity_options(command: Command) -> Command:
    """Add `-q` and `-v`."""
    command = click.option("-q", "--quiet", is_flag=True, help="Print nothing but warnings and errors.")(command)
    return click.option("-v", "--verbose", is_flag=True, help="Print more.")(command)


def announce(verbose: bool, quiet: bool, text: str) -> None:
    """Print what a command has done; commands that only write a file say it with `-v` alone."""
    if verbose and not quiet:
        echo_line(text)


def check_output(output: Path, *inputs: Path) -> None:
    """Raise `DataError` before the work when the output cannot be written, or is one of the inputs through links.

    An output that has the name of an input itself is meant to replace it.
    """
    from nephi import DataError
    from nephi.io import check_output_file

    if not os.path.isdir(output):  # whose name the writer refuses, for it has no suffix
        check_output_file(output)
    for path in inputs:
        same = os.path.realpath(output) == os.path.realpath(path)
        if path != IDENTITY and same and os.path.abspath(output) != os.path.abspath(path):
            raise DataError(f"{output}: leads through links to the input {path}; choose another name")


def inverted(path: Path) -> tuple[Path, bool]:
    """Parse ANTs' `[FILE,1]` and `[FILE,0]`: return the file, and whether its inverse is meant.

    Any other name, and that of a file that exists, is returned as it is. Raises `UsageError` for other brackets.
    """
    from nephi import UsageError

    text = str(path)
    if not (text.startswith("[") and text.endswith("]")) or path.exists():
        return path, False
    name, comma, flag = (part.strip() for part in text[1:-1].rpartition(","))
    if not (name and comma and flag in ("0", "1")):
        raise UsageError(f"{text}: expected [FILE,1] for the inverse of a transform, or [FILE,0] for itself")
    return Path(name), flag == "1"


def read_one(path: Path, inverse: bool = False, convention: FieldConvention | None = None) -> Transform:
    """Read a transform, or its inverse; `path` may be ANTs' `[FILE,1]`, whose inverse is the file's transform."""
    from nephi import read_inverse, read_transform

    file, flag = inverted(path)
    return (read_inverse if inverse != flag else read_transform)(file, convention)


def read_chain(
    paths: tuple[Path, ...], inverse: bool, dimension: int, convention: FieldConvention | None = None
) -> Transform:
    """Read the transforms of `-t -t ...` as one: `-t A -t B` takes points through A first, then B, as ANTs does.

    `[A,1]` is the inverse of A, as in ANTs. `identity` changes nothing; alone it is of the `dimension` of the images
    or points that it is applied to.
    """
    from nephi import AffineTransform, Composite, DataError

    paths = tuple(path for path in paths if inverted(path)[0] != IDENTITY)
    if not paths:
        return AffineTransform.identity(dimension)
    # The inverse of "A, then B" is "B back, then A back".
    ordered = tuple(reversed(paths)) if inverse else paths
    members = [read_one(path, inverse, convention) for path in ordered]
    dimensions = [m.dimension for m in (reversed(members) if inverse else members)]
    if len(set(dimensions)) > 1:
        found = ", ".join(f"{path} ({d}-D)" for path, d in zip(paths, dimensions, strict=True))
        raise DataError(f"expected transforms of one dimension, found {found}")
    return members[0] if len(members) == 1 else Composite(members)


def require_dimension(path: Path, what: str, found: int, expected: int, like: str = "transform is") -> None:
    """Raise `DataError` naming the file when what it holds is not of the dimension of the rest."""
    from nephi import DataError

    if found != expected:
        raise DataError(f"{path}: expected {expected}-D {what}, as the {like}, found {found}-D")
