"""The pairs that are to be registered, from a data set or a table."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nephi.datasets.index import DatasetIndex, DatasetPair
from nephi.datasets.index_file import read_dataset_index
from nephi.datasets.pair_names import check_pair_names
from nephi.errors import DataError, UsageError
from nephi.io import delimiter_of

REQUIRED = ("fixed", "moving")
FILES = (*REQUIRED, "fixed_mask", "moving_mask", "fixed_labels", "moving_labels", "landmarks")
SUFFIX = re.compile(r"(\.nii|\.nrrd|\.mha)?(\.[A-Za-z]\w{0,4})$")


@dataclass(frozen=True)
class PairFiles:
    """The files of one pair: images, and what else there is.

    `name` is that of its folder of results. Masks are above 0 inside, labels hold one integer a structure; `landmarks`
    are pairs of points.
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
    """Read the pairs of a data set's index (of its `split`, by default `test`), or of a CSV table.

    The table has the columns `fixed` and `moving`, and may have `name`, `fixed_mask`, `moving_mask`, `fixed_labels`,
    `moving_labels` and `landmarks`; paths are relative to its folder, empty cells are left out; commas, semicolons or
    tabs separate the cells. Pairs without a name are called by their images. No file of a pair is opened here.

    Raises `DataError` naming the file, and for a table the row, what was expected and what was found; `UsageError` for
    a split that is not there.
    """
    path = Path(path)
    if path.suffix.lower() != ".csv":
        index = read_dataset_index(path)
        split = split or "test"
        pairs = [_of_index(index, pair) for pair in index.pairs(split)]
        try:
            check_pair_names([pair.name for pair in pairs], lambda number: f"splits.{split}.pairs[{number}]")
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        return pairs
    if split is not None:
        raise UsageError(f"{path}: a table has no splits; leave --split out")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next((line for line in file if line.strip()), "")
            delimiter = delimiter_of(header, (*FILES, "name"))
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter, skipinitialspace=delimiter != "\t")
            rows = [(reader.line_num, row) for row in reader]  # a cell may have several lines
            pairs = _named(list(_of_table(rows, path.parent)), path.parent)
        check_pair_names([pair.name for pair in pairs], lambda number: f"line {rows[number][0]}")
        return pairs
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected a table of pairs, could not read it ({error})") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _of_index(index: DatasetIndex, pair: DatasetPair) -> PairFiles:
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
    found = {key: index.path(name) for key, name in relative.items() if name is not None}
    return PairFiles(f"{pair.fixed}--{pair.moving}", **found)


def _of_table(rows: Sequence[tuple[int, dict[str | Any, str | Any]]], folder: Path) -> Iterator[PairFiles]:
    if not rows:
        raise DataError(f"expected the columns {', '.join(REQUIRED)} and at least one row, found none")
    unknown = [key for key in rows[0][1] if key is not None and key not in (*FILES, "name")]
    if unknown:
        raise DataError(f"unknown column {unknown[0]!r}; expected some of name, {', '.join(FILES)}")
    for number, row in rows:
        if None in row:
            raise DataError(f"line {number}: expected {len(row) - 1} cells as in the header, found more")
        given = {str(key): cell.strip() for key, cell in row.items() if cell and cell.strip()}
        if any("\0" in cell for cell in given.values()):
            raise DataError(f"line {number}: expected names of files, found one with a null character")
        missing = [key for key in REQUIRED if key not in given]
        if missing:
            raise DataError(f"line {number}: expected a file under {missing[0]!r}, found nothing")
        yield PairFiles(given.pop("name", ""), **{key: folder / name for key, name in given.items()})


def _named(pairs: list[PairFiles], folder: Path) -> list[PairFiles]:
    """Give pairs without a name one: from their files' names, with those of the folders where they do not differ."""
    short, long = ([_called(pair, folder, whole) for pair in pairs] for whole in (False, True))
    alike = Counter(short)
    distinct = [brief if alike[brief] == 1 else full for brief, full in zip(short, long, strict=True)]
    names = [pair.name or name for pair, name in zip(pairs, distinct, strict=True)]
    return [replace(pair, name=name) for pair, name in zip(pairs, names, strict=True)]


def _called(pair: PairFiles, folder: Path, whole: bool) -> str:
    """Return a name made of those of both images; with the `whole` paths, where `folder` holds them."""

    def word(path: Path) -> str:
        inside = path.relative_to(folder) if path.is_relative_to(folder) else path
        text = "_".join((inside if whole else Path(inside.name)).parts)
        return re.sub(r"[^\w.-]+", "_", SUFFIX.sub("", text)).lstrip(".")

    return f"{word(pair.fixed)}--{word(pair.moving)}"
