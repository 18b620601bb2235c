"""Options shared by several commands."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from nephi import UsageError

FILE = click.Path(path_type=Path)
Command = Callable[..., Any]


def output_options(command: Command) -> Command:
    """Add `-o`, `--overwrite` and `-q`."""
    command = click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")(command)
    command = click.option("--overwrite", is_flag=True, help="Replace an existing data set in the folder.")(command)
    return click.option(
        "-o", "--output", type=FILE, required=True, metavar="DATASET", help="Output folder, new or empty."
    )(command)


def masks_option(command: Command) -> Command:
    """Add `--masks/--no-masks`."""
    return click.option(
        "--masks/--no-masks",
        default=True,
        show_default=True,
        help="Segment the lungs in CTs without masks.",
    )(command)


def printer(quiet: bool) -> Callable[[str], None]:
    """Return a function that prints a line, or ignores it if `quiet`."""
    return (lambda _: None) if quiet else click.echo


def parse_numbers(text: str, option: str) -> list[int]:
    """Parse a list of numbers such as `1,3-5`. Raises `UsageError` naming the option."""
    numbers: list[int] = []
    for part in filter(None, text.replace(" ", "").split(",")):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None:
            raise UsageError(f"{option}: expected numbers such as 1,3-5, found {part!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        numbers += range(first, last + 1)
    return numbers
