"""Read the pairs of files to register, from a data set or a CSV table."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nephi.datasets.entries import DatasetPair
from nephi.datasets.index import DatasetIndex
from nephi.datasets.index_file import read_dataset_index
from nephi.datasets.pair_names import check_pair_names
from nephi.errors import DataError, UsageError
from nephi.io import delimiter_of

REQUIRED = ("fixed", "moving")
FILES = (*REQUIRED, "fixed_mask", "moving_mask", "fixed_labels", "moving_labels", "landmarks")
SUFFIX = re.compile(r"(\.nii|\.nrrd|\.mha)?(\.[A-Za-z]\w{0,4})$")


@dataclass(frozen=True)
class PairFiles:
    """The files of one pair: images, and if available masks, labels and landmarks.

    `name` becomes the name of its folder of results. Masks are above 0 inside, labels hold one integer per structure;
    `landmarks` are pairs of points.
    """

    name: str
    fixed: Path
    moving: Path
    fixed_mask: Path | None = None
    moving_mask: Path | None = None
    fixed_labels: Path | None = None
    moving_labels: Path | None = None
    landmarks: Path | None = None


def read_pairs(path: str | Path, split: str | None = None) -> list[PairFiles]:
    """Read the pairs of a split (by default `test`) of a data set's index, or of a CSV table.

    The table has the columns `fixed` and `moving`, and optionally `name`, `fixed_mask`, `moving_mask`, `fixed_labels`,
    `moving_labels` and `landmarks`; paths are relative to its folder, empty cells are ignored; cells are separated by
    commas, semicolons or tabs. Pairs without a name are named after their images. The files of the pairs are not read.

    Raises `DataError` naming the file, and for a table the row, what was expected and what was found; `UsageError` for
    a split that the data set does not have.
    """
    path = Path(path)
    if path.suffix.lower() != ".csv":
        index = read_dataset_index(path)
        split = split or "test"
        pairs = [_files_of(index, pair) for pair in index.pairs(split)]
        try:
            check_pair_names([pair.name for pair in pairs], lambda number: f"splits.{split}.pairs[{number}]")
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        return pairs
    if split is not None:
        raise UsageError(f"{path}: a table has no splits; omit --split")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next((line for line in file if line.strip()), "")
            delimiter = delimiter_of(header, (*FILES, "name"))
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter, skipinitialspace=delimiter != "\t")
            rows = [(reader.line_num, row) for row in reader]  # a cell may have several lines
            pairs = _with_names(list(_parse_rows(rows, path.parent)), path.parent)
        check_pair_names([pair.name for pair in pairs], lambda number: f"line {rows[number][0]}")
        return pairs
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected a table of pairs or a data set's index") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected a table of pairs, could not read it ({error})") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _files_of(index: DatasetIndex, pair: DatasetPair) -> PairFiles:
    fixed, moving = index.image(pair.fixed), index.image(pair.moving)
    relative = {
        "fixed": fixed.image,
        "moving": moving.image,
        "fixed_mask": fixed.mask,
        "moving_mask": moving.mask,
        "fixed_labels": fixed.labels,
        "moving_labels": moving.labels,
        "landmarks": pair.landmarks,
    }
    paths = {key: index.path(path) for key, path in relative.items() if path is not None}
    return PairFiles(f"{pair.fixed}--{pair.moving}", **paths)


def _parse_rows(rows: Sequence[tuple[int, dict[str | Any, str | Any]]], folder: Path) -> Iterator[PairFiles]:
    if not rows:
        raise DataError(f"expected the columns {', '.join(REQUIRED)} and at least one row, found none")
    unknown = [key for key in rows[0][1] if key is not None and key not in (*FILES, "name")]
    if unknown:
        raise DataError(f"unknown column {unknown[0]!r}; expected some of name, {', '.join(FILES)}")
    for number, row in rows:
        if None in row:
            raise DataError(f"line {number}: expected {len(row) - 1} cells as in the header, found more")
        cells = {str(key): cell.strip() for key, cell in row.items() if cell and cell.strip()}
        if any("\0" in cell for cell in cells.values()):
            raise DataError(f"line {number}: expected file names, found one with a null character")
        missing = [key for key in REQUIRED if key not in cells]
        if missing:
            raise DataError(f"line {number}: expected a file in column {missing[0]!r}, found an empty cell")
        yield PairFiles(cells.pop("name", ""), **{key: folder / path for key, path in cells.items()})


def _with_names(pairs: list[PairFiles], folder: Path) -> list[PairFiles]:
    """Return the pairs, those without a name named after their files, with folders where file names are not unique."""
    short, long = ([_name_from_files(pair, folder, with_folders) for pair in pairs] for with_folders in (False, True))
    uses = Counter(short)
    unique = [brief if uses[brief] == 1 else full for brief, full in zip(short, long, strict=True)]
    return [replace(pair, name=pair.name or name) for pair, name in zip(pairs, unique, strict=True)]


def _name_from_files(pair: PairFiles, folder: Path, with_folders: bool) -> str:
    """Return a name made of both images' file names, or of their paths relative to `folder`."""

    def stem(path: Path) -> str:
        relative = path.relative_to(folder) if path.is_relative_to(folder) else path
        text = "_".join((relative if with_folders else Path(relative.name)).parts)
        return re.sub(r"[^\w.-]+", "_", SUFFIX.sub("", text)).lstrip(".")

    return f"{stem(pair.fixed)}--{stem(pair.moving)}"
