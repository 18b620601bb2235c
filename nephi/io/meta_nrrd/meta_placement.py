"""Position, spacing and directions in the header of a MetaImage file, as ITK 5.4 interprets them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nephi.errors import DataError, warn
from nephi.io.meta_nrrd.header_values import parse_numbers

# If several are present, ITK 5.4 uses the last of the list.
POSITIONS = ("Position", "Offset", "Origin", "ImagePosition")
DIRECTIONS = ("Orientation", "Rotation", "TransformMatrix")
SPACINGS = ("ElementSize", "ElementSpacing")
Float = NDArray[np.float64]


def meta_placement(path: Path, fields: dict[str, str], d: int, spatial: int) -> tuple[Float, Float]:
    """Return steps between voxels `(D, D)` (an axis a column) and origin `(D,)`, in LPS mm, of `spatial` axes.

    These are the first of the header's `d` axes. Warns about missing and contradicting values; raises `DataError`
    naming the file when the matrix mixes space and time.
    """
    position = _last_of(path, fields, POSITIONS, d)
    direction = _last_of(path, fields, DIRECTIONS, d * d)
    spacing = _last_of(path, fields, SPACINGS, d, compare=False)
    if not position:
        warn(f"{path}: the header has no position (Offset); 0 mm is used, as in ITK")
    if not spacing:
        warn(f"{path}: the header has no spacing (ElementSpacing); 1 mm is used, as in ITK")
    matrix = np.reshape(direction or np.eye(d), (d, d)).T  # the rows in the file are the directions of the axes
    steps = matrix * np.array(spacing or np.ones(d))
    if spatial < d and (np.any(steps[spatial:, :spatial]) or np.any(steps[:spatial, spatial:])):
        raise DataError(
            f"{path}: expected a time axis and three axes of space, found a TransformMatrix that mixes them"
        )
    _warn_about_orientation(path, fields, matrix, d)
    return steps[:spatial, :spatial].copy(), np.array(position or np.zeros(d))[:spatial]


def _last_of(
    path: Path, fields: dict[str, str], names: tuple[str, ...], count: int, compare: bool = True
) -> list[float]:
    """Return the numbers of the last of `names` that the header has; empty if it has none.

    With `compare`, warns about other names that have different numbers.
    """
    values = {name: _leading_numbers(path, name, fields[name], count) for name in names if name in fields}
    last = list(values)[-1] if values else ""
    for name in values:
        if compare and not np.allclose(values[name], values[last], rtol=1e-6, atol=1e-6):
            pair = f"{name} {fields[name][:60]} and {last} {fields[last][:60]}"
            warn(f"{path}: the header has {pair}; the second is used, as in ITK")
    return values.get(last, [])


def _leading_numbers(path: Path, field: str, text: str, count: int) -> list[float]:
    words = text.split(maxsplit=count)
    if len(words) > count:
        warn(f"{path}: the header has more than {count} numbers for {field}; the first {count} are used, as in ITK")
    return parse_numbers(path, field, " ".join(words[:count]), count)


def _warn_about_orientation(path: Path, fields: dict[str, str], matrix: Float, d: int) -> None:
    """Warn when AnatomicalOrientation, which ITK ignores, contradicts the direction matrix.

    Its letters name the side where each axis starts (RAI for the identity in ITK) or ends, depending on the software;
    the warning is issued if the matrix agrees with neither.
    """
    letters = fields.get("AnatomicalOrientation", "").upper()
    if d != 3 or len(letters) != 3 or not all(sum(c in letters for c in pair) == 1 for pair in ("RL", "AP", "IS")):
        return
    axis = [next(i for i, pair in enumerate(("RL", "AP", "IS")) if letter in pair) for letter in letters]
    signs = np.array([1 if letter in "RAI" else -1 for letter in letters])
    along = matrix[axis, range(3)] * signs
    largest = np.abs(matrix).max(axis=0)
    if not (np.all(along >= 0.7 * largest) or np.all(along <= -0.7 * largest)):
        warn(
            f"{path}: the header has AnatomicalOrientation {letters}, which contradicts TransformMatrix; the matrix is "
            "used, as in ITK"
        )
