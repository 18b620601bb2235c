"""Position, spacing and directions in the header of a NRRD file, as ITK 5.4 interprets them."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nephi.errors import DataError, warn
from nephi.io.meta_nrrd.header_values import parse_integer, parse_number

VECTOR = re.compile(r"\(([^()]*)\)|([^\s()]+)")
ANATOMICAL = {"rightanteriorsuperior": "ras", "leftanteriorsuperior": "las", "leftposteriorsuperior": "lps"}
TO_LPS = {"ras": (-1.0, -1.0, 1.0), "las": (1.0, -1.0, 1.0)}
OTHER_SPACES = ("scannerxyz", "3drighthanded", "3dlefthanded")
WITH_TIME = ("lpst", "leftposteriorsuperiortime")  # without RAS and time, which ITK does not convert
Float = NDArray[np.float64]


def nrrd_placement(
    path: Path,
    fields: dict[str, str],
    shape: tuple[int, ...],
    dimension: int,
    domain: list[int],
    is_vector: bool,
    is_series: bool,
) -> tuple[Float, Float]:
    """Return steps between voxels `(D, D)` (an axis a column) and origin `(D,)`, in LPS mm, of the `domain` axes.

    The header has `dimension` axes. The frame of a series may have time as its fourth axis. Raises `DataError` naming
    the file for damaged values, and for directions together with spacings, as ITK does. Warns if the header does not
    define frame, position or spacing.
    """
    d = len(shape)
    frame, n = _parse_frame(path, fields)
    if n == 0:
        return _placement_without_space(path, fields, shape, dimension, domain)
    for name in ("spacings", "axis mins", "axis maxs"):
        if name in fields and any(map(math.isfinite, _axis_numbers(path, fields, name, dimension))):
            raise DataError(
                f"{path}: expected space directions only, together with a space, found {name}; delete one of them"
            )
    flip = _lps_signs(path, frame, n, d, is_series)
    directions = _parse_vectors(path, "space directions", fields.get("space directions", ""), n, d)
    if directions and len(directions) != dimension:
        raise DataError(f"{path}: expected {dimension} space directions, found {len(directions)}")
    steps = np.eye(d)
    for i, axis in enumerate(domain):
        if directions and directions[axis] is not None:
            steps[:, i] = np.array(directions[axis]) * flip
    if not directions or any(directions[axis] is None for axis in domain):
        warn(f"{path}: the header has no direction for an axis; 1 mm along the axis of the frame is used, as in ITK")
    origins = _parse_vectors(path, "space origin", fields.get("space origin", ""), n, d)
    if not origins or origins[0] is None:
        warn(f"{path}: the header has no space origin; 0 mm is used, as in ITK")
    origin = np.array(origins[0]) * flip if origins and origins[0] is not None else np.zeros(d)
    _warn_about_ignored_fields(path, fields, n, is_vector)
    if is_vector and frame in TO_LPS:
        warn(
            f"{path}: the header has the space {fields['space']}, which is applied to positions only; vectors are read "
            "as LPS, as in ITK, unless a convention is given (--transform-format slicer: RAS)"
        )
    return steps, origin


def _parse_frame(path: Path, fields: dict[str, str]) -> tuple[str, int]:
    """Return the name of the frame, normalised to lower-case letters, and its dimension; 0 without a frame."""
    if "space" in fields and "space dimension" in fields:
        raise DataError(f"{path}: expected space or space dimension, found both; the header is damaged")
    if "space dimension" in fields:
        return "", parse_integer(path, "space dimension", fields["space dimension"], 1, 8)
    if "space" not in fields:
        return "", 0
    name = re.sub(r"[-\s]", "", fields["space"].lower())
    name = ANATOMICAL.get(name, name)
    if name not in (*TO_LPS, *OTHER_SPACES, "lps", *WITH_TIME):
        raise DataError(f"{path}: expected a space such as left-posterior-superior, found {fields['space'][:40]!r}")
    return name, 4 if name in WITH_TIME else 3


def _lps_signs(path: Path, frame: str, n: int, d: int, is_series: bool) -> Float:
    """Return the signs that convert the first `d` of `n` axes of a frame to LPS, which ITK uses for 2-D and 4-D."""
    if n != d and not (is_series and n == d + 1):
        raise DataError(f"{path}: expected a {d}-D space for {d} axes of voxels, found {n}-D; check kinds and space")
    if d == n == 3 and frame not in (*TO_LPS, *WITH_TIME, "lps"):
        warn(f"{path}: the header has {frame or 'a space'} without anatomical axes; it is read as LPS, as in ITK")
    return np.array(TO_LPS.get(frame, (1.0, 1.0, 1.0))[:d])


def _placement_without_space(
    path: Path, fields: dict[str, str], shape: tuple[int, ...], dimension: int, domain: list[int]
) -> tuple[Float, Float]:
    for name in ("space directions", "space origin"):
        if name in fields:
            raise DataError(f"{path}: expected a space for the {name}, found none; the header is damaged")
    spacings = _axis_numbers(path, fields, "spacings", dimension)
    lows, highs = (_axis_numbers(path, fields, f"axis {end}", dimension) for end in ("mins", "maxs"))
    centers = fields.get("centers", "").lower().split() or ["cell"] * dimension
    if len(centers) != dimension:
        raise DataError(f"{path}: expected {dimension} centerings, found {fields['centers'][:60]!r}")
    spacing = np.array([spacings[axis] if math.isfinite(spacings[axis]) else 1.0 for axis in domain])
    origin = np.zeros(len(shape))
    has_position = all(
        math.isfinite(lows[a]) and (math.isfinite(spacings[a]) or math.isfinite(highs[a])) for a in domain
    )
    if has_position:
        for i, axis in enumerate(domain):
            is_cell = centers[axis] != "node"
            intervals = shape[i] if is_cell else max(shape[i] - 1, 1)
            step = spacings[axis] if math.isfinite(spacings[axis]) else (highs[axis] - lows[axis]) / intervals
            origin[i] = lows[axis] + (step / 2 if is_cell else 0)
    missing = [] if has_position else ["position"]
    missing += [] if all(math.isfinite(spacings[axis]) for axis in domain) else ["spacing"]
    defaults = "".join({"position": ", the position 0 mm", "spacing": ", the spacing 1 mm"}[name] for name in missing)
    warn(f"{path}: the header has no {' and no '.join(['space', *missing])}; axes of LPS{defaults} are used, as in ITK")
    return np.diag(spacing), origin


def _axis_numbers(path: Path, fields: dict[str, str], name: str, dimension: int) -> list[float]:
    """Return a number for each axis, NaN for those that the header does not give."""
    words = fields.get(name, "nan " * dimension).split(maxsplit=dimension)
    if len(words) != dimension:
        raise DataError(f"{path}: expected {dimension} numbers for {name}, found {fields[name][:60]!r}")
    return [math.nan if word.lower() == "nan" else parse_number(path, name, word) for word in words]


def _parse_vectors(path: Path, name: str, text: str, n: int, d: int) -> list[list[float] | None]:
    """Parse vectors `(x,y,z)` of `n` numbers; return the first `d` numbers of each, None for `none`."""
    vectors: list[list[float] | None] = []
    if VECTOR.sub("", text).strip() or len(text) > 2**14:
        raise DataError(f"{path}: expected vectors (x,y,z) or none for {name}, found {text[:60]!r}")
    for inside, word in VECTOR.findall(text):
        if word:
            if word.lower() != "none":
                raise DataError(f"{path}: expected vectors (x,y,z) or none for {name}, found {text[:60]!r}")
            vectors.append(None)
            continue
        cells = inside.split(",")
        if len(cells) != n:
            raise DataError(f"{path}: expected vectors of {n} numbers for {name}, found {text[:60]!r}")
        is_none = all(cell.strip().lower() == "nan" for cell in cells)
        vectors.append(None if is_none else [parse_number(path, name, cell.strip()) for cell in cells][:d])
    return vectors


def _warn_about_ignored_fields(path: Path, fields: dict[str, str], d: int, is_vector: bool) -> None:
    """Warn about fields that would change sizes or vectors, and that ITK ignores."""
    units = set(re.findall(r'"([^"]*)"', fields.get("space units", ""))) - {"mm", "", "???"}
    if units:
        warn(f"{path}: the header has space units {sorted(units)[0][:20]}; its numbers are read as mm, as in ITK")
    frame = _parse_vectors(path, "measurement frame", fields.get("measurement frame", ""), d, d) if is_vector else []
    if frame and not all(row is not None and np.allclose(row, np.eye(d)[i]) for i, row in enumerate(frame[:d])):
        warn(f"{path}: the header has a measurement frame; vectors are read as LPS, as in ITK")
