"""Numbers in text files."""

from __future__ import annotations

import math
import reprlib
from pathlib import Path

from nephi.errors import DataError


def finite(path: Path, where: str, cell: object) -> float:
    """Return a cell as a number; raise `DataError` naming file and place when it is no finite one."""
    try:
        spelled = not isinstance(cell, str) or (cell.isascii() and "_" not in cell)  # float() takes 1_0, too
        value = float(cell) if isinstance(cell, str | int | float) and spelled else math.nan
    except (ValueError, OverflowError):  # a whole number beyond what a float holds
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}: expected a finite number in {where}, found {reprlib.repr(cell)}")
    return value
