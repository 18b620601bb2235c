"""Paths of input files in the reports of results, which stay valid when the results are moved."""

from __future__ import annotations

import os
from pathlib import Path


def recorded_path(path: str | Path, folder: Path) -> str | None:
    """Return the path of an input file as a report in `folder` records it; None for a name that is not a path.

    Relative to `folder`, with `/` between its parts, if the file lies in it or was given by a relative path: it then
    survives a move of the results, or of results and inputs together, and does not depend on the current folder. A file
    elsewhere that was given by an absolute path keeps it.
    """
    if not os.fspath(path) or not os.path.exists(path):
        return None
    path, base = Path(path), Path(os.path.realpath(folder))
    # A link to the file is kept, links to its folder are resolved: `..` of a path through one would lead elsewhere.
    real = Path(os.path.realpath(path.absolute().parent), path.name)
    if path.is_absolute() and base not in real.parents:
        return str(path)
    try:
        return Path(os.path.relpath(real, base)).as_posix()
    except ValueError:  # another drive of Windows
        return str(path.absolute())


def located_path(recorded: str, folder: Path) -> Path:
    """Return the path of a file that a report in `folder` records, whether it exists or not."""
    return Path(os.path.normpath(Path(os.path.realpath(folder), recorded)))
