"""Parse text files of ITK's transforms strictly (`.tfm`, `.txt`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nephi.errors import DataError
from nephi.io.files.input_files import reading
from nephi.io.transforms.itk_linear import Vector
from nephi.io.transforms.itk_member import COMPOSITE, Member, MemberType, member_type, verified_member

NUMERIC = re.compile(r"[0-9+\-.eE\s]*")
BLOCK = 2**20  # characters that are converted to numbers at a time
NUMBERS = ("Parameters", "FixedParameters")


def read_text_members(path: Path) -> list[Member]:
    """Read the transforms of an ITK text file in stored order.

    A composite, which is the first transform of its file, becomes a member without parameters.

    Raises `DataError` naming file and line unless all transforms are of known classes with the correct number of
    finite parameters.
    """
    members: list[Member] = []
    kind: MemberType | None = None
    numbers: dict[str, Vector] = {}
    for where, key, value in _read_entries(path):
        if key == "Transform":
            if kind is not None:
                members.append(_member(path, kind, numbers))
            kind, numbers = member_type(path, value), {}
        elif key not in NUMBERS or kind is None:
            raise DataError(f"{where}: expected Transform, Parameters or FixedParameters, found {key[:80]!r}")
        elif key in numbers:
            raise DataError(f"{where}: expected {key} once for each transform, found it again")
        else:
            numbers[key] = parse_numbers(where, key, value)
    if kind is None:
        raise DataError(
            f"{path}: expected a transform in ITK's text format (Transform: ...), found other text; the file "
            "may be incomplete, or of another tool"
        )
    return [*members, _member(path, kind, numbers)]


def _read_entries(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield position (file and line), key and value of each line `key: value`; skip comments and empty lines."""
    with reading(path, "a transform"), open(path, encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            key, colon, value = text.partition(":")
            if not colon and NUMERIC.fullmatch(text):
                raise DataError(
                    f"{path}: line {number}: expected `name: value`, found only numbers; matrices of other tools "
                    "(MRtrix, AFNI, ...) are not supported: write the map of fixed to moving points as .tfm, in LPS mm"
                )
            if not colon:
                raise DataError(f"{path}: line {number}: expected `name: value`, found {text[:80]!r}")
            yield f"{path}: line {number}", key.strip(), value.strip()


def _member(path: Path, kind: MemberType, numbers: dict[str, Vector]) -> Member:
    if kind.name == COMPOSITE and not numbers:
        return Member(kind, np.empty(0), np.empty(0))
    for key in NUMBERS:
        if key not in numbers:
            raise DataError(f"{path}: expected {key} of {kind.name}, found none; the file is incomplete, copy it again")
    return verified_member(path, kind, numbers["Parameters"], numbers["FixedParameters"])


def parse_numbers(where: str, key: str, text: str) -> Vector:
    """Convert decimal numbers separated by blanks; raise `DataError` naming `where` for other text and for overflow."""
    if NUMERIC.fullmatch(text) is None:
        invalid = next(word for word in text.split() if NUMERIC.fullmatch(word) is None)
        raise DataError(f"{where}: expected decimal numbers in {key}, found {invalid[:80]!r}")
    parts = []
    start = 0
    while start < len(text):
        end = start + BLOCK
        while end < len(text) and not text[end].isspace():
            end += 1
        parts.append(_parse_block(where, key, text[start:end]))
        start = end
    return np.concatenate(parts) if parts else np.empty(0)


def _parse_block(where: str, key: str, text: str) -> Vector:
    words = text.split()
    try:
        values = np.array([float(word) for word in words], dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{where}: expected decimal numbers in {key}, found {_invalid_word(words)[:80]!r}") from error
    if not bool(np.isfinite(values).all()):
        found = words[int(np.flatnonzero(~np.isfinite(values))[0])]
        raise DataError(f"{where}: expected finite numbers in {key}, found {found[:80]!r}")
    return values


def _invalid_word(words: list[str]) -> str:
    """Return the first word that is not a number."""
    for word in words:
        try:
            float(word)
        except ValueError:
            return word
    return ""
