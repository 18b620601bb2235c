"""Read MINC transform files (`.xfm`) that ITK wrote: one linear map in LPS."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nephi.errors import DataError
from nephi.io.files.input_files import require_file
from nephi.io.transforms.itk_member import Member, MemberType, verified_member
from nephi.io.transforms.itk_text import parse_numbers

SIGNATURE = "MNI Transform File"
WRITER = "ITK-XFM"
MAX_SIZE = 2**20


def read_minc_member(path: Path) -> Member:
    """Read the linear transform of an `.xfm` file as an affine map with centre 0.

    ITK writes LPS and the MINC tools write RAS; the files differ only in the name of the writer, so files of other
    writers are rejected. Raises `DataError` naming the file for these, for several maps, for grids, and for damage.
    """
    with open(require_file(path), encoding="utf-8", errors="replace") as file:
        text = file.read(MAX_SIZE)
    if not text.startswith(SIGNATURE):
        raise DataError(f"{path}: expected a MINC transform file, found other contents")
    if WRITER not in text[:4096]:
        raise DataError(
            f"{path}: expected an .xfm written by ITK, found one of another tool, whose frame is unknown; "
            "save it as .tfm or .mat"
        )
    lines = [line for line in text.splitlines()[1:] if not line.lstrip().startswith("%")]
    *statements, rest = "\n".join(lines).split(";")
    pairs = [(key.strip(), value.strip()) for key, _, value in (statement.partition("=") for statement in statements)]
    if rest.strip() or [key for key, _ in pairs] != ["Transform_Type", "Linear_Transform"] or pairs[0][1] != "Linear":
        found = ", ".join(f"{key} {value}"[:40].split("\n")[0] for key, value in pairs) or "none"
        raise DataError(f"{path}: expected one linear transform, found {found}; save it as .tfm or .h5")
    numbers = parse_numbers(str(path), "Linear_Transform", " ".join(pairs[1][1].split()))
    if len(numbers) != 12:
        raise DataError(f"{path}: expected 12 numbers in Linear_Transform, found {len(numbers)}; copy the file again")
    rows = numbers.reshape(3, 4)
    parameters = np.concatenate([rows[:, :3].reshape(-1), rows[:, 3]])
    return verified_member(path, MemberType("AffineTransform", 3), parameters, np.zeros(3))
