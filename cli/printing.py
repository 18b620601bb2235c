"""Printing: everything that the commands print goes through `echo`, or through the tables that are made of its text."""

from __future__ import annotations

import sys

from nephi.errors import printable


def echo(text: str, *, err: bool = False) -> None:
    """Print lines on standard output, or on standard error; control characters in them are escaped."""
    _print("\n".join(map(printable, text.split("\n"))), err)


def echo_line(text: str, *, err: bool = False) -> None:
    """Print one line: line breaks in it are escaped, too, as they come from a file or its name."""
    _print(printable(text), err)


def _print(text: str, err: bool) -> None:
    print(text, file=sys.stderr if err else sys.stdout, flush=True)
