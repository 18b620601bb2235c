"""Options and checks that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .printing import echo_line

FILE = click.Path(path_type=Path)
IDENTITY = Path("identity")  # the transform that changes nothing, as ANTs spells it
Command = Callable[..., Any]

device_option = click.option(
    "--device", metavar="auto|cpu|cuda[:N]", default="auto", show_default=True, help="Device to compute on."
)
config_option = click.option(
    "--config", type=FILE, metavar="F.toml", help="Settings file; overrides settings of the preset."
)
threads_option = click.option(
    "--threads",
    type=click.IntRange(min=0),
    metavar="N",
    help="Number of CPU threads; 0: all physical cores, at most 8.  [default: 0]",
)
label_names_option = click.option(
    "--label-names",
    type=FILE,
    help="Names of the labels: ITK-SNAP's label descriptions, or a colour table of 3-D Slicer (.ctbl) or FreeSurfer "
    "(LUT.txt).",
)


def seed_option(text: str) -> Callable[[Command], Command]:
    """Return a decorator that adds `--seed` with this help text."""
    seeds = click.IntRange(0, 2**32 - 1)
    return click.option("--seed", type=seeds, metavar="N", default=0, show_default=True, help=text)


def frame_option(command: Command) -> Command:
    """Add `--frame`, the coordinate system of a points file."""
    return click.option(
        "--frame",
        type=click.Choice(["lps", "ras"]),
        default="lps",
        show_default=True,
        help="Frame of the coordinates (mm): LPS (ITK, ANTs, DICOM) or RAS (NIfTI, 3-D Slicer's display).",
    )(command)


def verbosity_options(command: Command) -> Command:
    """Add `-q` and `-v`."""
    command = click.option("-q", "--quiet", is_flag=True, help="Print only warnings and errors.")(command)
    return click.option("-v", "--verbose", is_flag=True, help="Print more details.")(command)


def echo_verbose(verbose: bool, quiet: bool, text: str) -> None:
    """Print a line if `-v` is given: commands that only write a file print nothing by default."""
    if verbose and not quiet:
        echo_line(text)


def check_output(output: Path, *inputs: Path) -> None:
    """Validate the output path before any work is done.

    Raises `DataError` if the output cannot be written, or is a link to one of the inputs. An output with the same name
    as an input replaces it.
    """
    from nephi import DataError
    from nephi.io import check_output_file

    if not os.path.isdir(output):  # the writer rejects a folder by its missing suffix
        check_output_file(output)
    for path in inputs:
        same_file = os.path.realpath(output) == os.path.realpath(path)
        if path != IDENTITY and same_file and os.path.abspath(output) != os.path.abspath(path):
            raise DataError(f"{output}: refers through a link to the input {path}; choose another output file")


def require_dimension(path: Path, content: str, dimension: int, expected: int, reference: str = "transform") -> None:
    """Raise `DataError` if the content of a file is not of the expected dimension, that of `reference`."""
    from nephi import DataError

    if dimension != expected:
        raise DataError(f"{path}: expected {expected}-D {content}, the dimension of the {reference}, got {dimension}-D")
