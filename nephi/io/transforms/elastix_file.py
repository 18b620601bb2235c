"""Parse parameter files of elastix: lines `(Name value value ...)`."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from nephi.errors import DataError
from nephi.io.files.input_files import require_file
from nephi.io.text import finite_number

WORD = re.compile(r'"([^"]*)"|(\S+)')
QUOTED_OR_COMMENT = re.compile(r'"[^"]*"|//')
NAME = re.compile(r"\w+")


class ElastixFile:
    """Values of a parameter file by name. Every method raises `DataError` naming the file for an invalid value."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.words: dict[str, list[str]] = {}
        with open(require_file(path), encoding="utf-8-sig", errors="replace") as file:
            for line in file:
                entry = _parse_line(line)
                if entry is not None and entry[0] in self.words:
                    raise DataError(f"{path}: expected {entry[0][:40]} once, found it twice; delete the wrong line")
                if entry is not None:
                    self.words[entry[0]] = [quoted or bare for quoted, bare in WORD.findall(entry[1])]

    def __contains__(self, name: str) -> bool:
        return name in self.words

    def word(self, name: str, default: str | None = None) -> str:
        """Return the one value of a name, or the default if the name is missing."""
        words = self.words.get(name, [default] if default is not None else [])
        if len(words) != 1:
            raise DataError(f"{self.path}: expected one word for {name}, found {len(words)}; is the file complete?")
        return words[0]

    def numbers(self, name: str, count: int | None = None) -> list[float]:
        """Return the finite numbers of a name: `count`, or at least one."""
        words = self.words.get(name, [])
        if not words or (count is not None and len(words) != count):
            raise DataError(
                f"{self.path}: expected {count or 'one or more'} numbers for {name}, found {len(words)}; "
                "is the file complete?"
            )
        return [finite_number(self.path, name, word) for word in words]

    def parameters(self) -> list[float]:
        """Return the TransformParameters, from the binary file that they name if elastix wrote one."""
        if self.word("UseBinaryFormatForTransformationParameters", "false") != "true":
            values = self.numbers("TransformParameters")
            self._require_count(len(values), str(len(values)))
            return values
        stored = self.locate(self.word("TransformParameters"), "TransformParameters")
        size = stored.stat().st_size
        self._require_count(size // 8 if size % 8 == 0 else size / 8, None)
        binary = np.fromfile(stored, "<f8")
        if not bool(np.isfinite(binary).all()):
            raise DataError(f"{stored}: expected finite TransformParameters, found NaN or infinite ones")
        return binary.tolist()

    def _require_count(self, count: float, default: str | None) -> None:
        expected = self.word("NumberOfParameters", default)
        if expected != str(count):
            raise DataError(
                f"{self.path}: expected {expected[:40]} TransformParameters, found {count}; the file is damaged"
            )

    def locate(self, name: str, what: str) -> Path:
        """Return the path of a file named in this file: as written, or in the folder of this file.

        elastix writes absolute paths, which are wrong after the results were moved. Any regular file is allowed; it is
        only read, as a transform.
        """
        name = name[:400]
        for candidate in (self.path.parent / name, self.path.parent / re.split(r"[\\/]", name)[-1]):
            try:
                if candidate.is_file():
                    return candidate
            except (OSError, ValueError):  # not a valid file name
                continue
        raise DataError(f"{self.path}: its {what} {name[:80]} is missing; copy it into the folder of this file")


def is_elastix(path: Path) -> bool:
    """Return whether a text file is a transform of elastix: it has a line `(Transform "...")`."""
    with open(require_file(path), encoding="utf-8-sig", errors="replace") as file:
        return any(line.lstrip().startswith(("(Transform ", "(Transform\t")) and '"' in line for line in file)


def _parse_line(line: str) -> tuple[str, str] | None:
    """Return name and values of a line; None for comments, other text, and a line without a closing bracket."""
    text = line.strip()
    if not text.startswith("("):
        return None
    for found in QUOTED_OR_COMMENT.finditer(text):
        if found[0] == "//":
            text = text[: found.start()].rstrip()
            break
    if not text.endswith(")"):
        return None
    name, *rest = text[1:-1].split(maxsplit=1)
    return (name, rest[0] if rest else "") if NAME.fullmatch(name) else None
