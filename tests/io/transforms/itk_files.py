"""Numbers of small transforms of ITK, and a check of the errors of damaged files."""

from __future__ import annotations

from pathlib import Path

import pytest

from nephi.errors import DataError
from nephi.io import read_foreign_transform

FIXED_3D = [4.0, 3.0, 2.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
MATRIX = [1.0, 0, 0, 0, 1, 0, 0, 0, 1, 5, 6, 7]


def refused(path: Path, message: str) -> str:
    with pytest.raises(DataError, match=message) as caught:
        read_foreign_transform(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and "\n" not in text and len(text) < len(str(path)) + 400
    return text
