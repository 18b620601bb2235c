"""The index of a data set as a JSON file."""

from __future__ import annotations

import json
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from nephi.datasets.index import DatasetImage, DatasetIndex, DatasetPair, DatasetSource, DatasetSplit
from nephi.documents import is_unicode, read_json
from nephi.errors import DataError

FORMAT = "nephi-dataset"
VERSION = 1
Entry = TypeVar("Entry", DatasetSource, DatasetImage, DatasetPair)


def read_dataset_index(path: str | Path) -> DatasetIndex:
    """Read the index of a data set, a JSON file, or the folder that holds it as `dataset.json`.

    Every file it names has to be there; none is opened.

    Raises `DataError` in one line that names file and entry, what was expected, what was found, and what to do.
    """
    path = _index_path(path)
    table = _json(path)
    try:
        index = replace(_index(table), folder=path.parent)
        _require_files(index)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return index


def write_dataset_index(index: DatasetIndex, path: str | Path) -> None:
    """Write an index as JSON, whole or not at all, to a file or as `dataset.json` into a folder that is there.

    Equal indices give equal bytes.

    Raises `DataError` when a file it names is missing beside `path`, or the index cannot be written.
    """
    from nephi.io import write_text

    path = _index_path(path)
    try:
        _require_files(replace(index, folder=path.parent))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    splits = {
        name: {
            "subjects": list(split.subjects),
            "pairs": split.pairs if isinstance(split.pairs, str) else [_given(pair) for pair in split.pairs],
        }
        for name, split in index.splits.items()
    }
    table = {
        "format": FORMAT,
        "version": VERSION,
        "name": index.name,
        "dimension": index.dimension,
        "source": _given(index.source),
        "images": [_given(image) for image in index.images],
        "splits": splits,
    }
    write_text(path, json.dumps(table, indent=2, ensure_ascii=False) + "\n")


def _index_path(path: str | Path) -> Path:
    path = Path(path)
    return path / "dataset.json" if path.is_dir() else path


def _given(entry: DatasetSource | DatasetImage | DatasetPair) -> dict[str, str]:
    values = {each.name: getattr(entry, each.name) for each in fields(entry)}
    return {key: value for key, value in values.items() if value is not None}


def _require_files(index: DatasetIndex) -> None:
    missing = [(entry, relative) for entry, relative in index.files() if not os.path.isfile(index.path(relative))]
    if missing:
        entry, relative = missing[0]
        more = f" ({len(missing) - 1} more are missing)" if len(missing) > 1 else ""
        raise DataError(f"{entry}: no file {relative} beside the index{more}; put it there, or take the entry out")


def _json(path: Path) -> dict[str, Any]:
    table = read_json(path, "a data set's index (see docs/reference/datasets.md)")
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        found = repr(table.get("format")) if isinstance(table, dict) else f"a {type(table).__name__}"
        raise DataError(f"{path}: expected the index of a data set, with format {FORMAT!r}, found {found}")
    if table.get("version") != VERSION:
        raise DataError(
            f"{path}: version: expected {VERSION}, found {table.get('version')!r}; is nephi newer or older?"
        )
    return table


def _index(table: dict[str, Any]) -> DatasetIndex:
    known = ("format", "version", "name", "dimension", "source", "images", "splits")
    _require_known("", table, known)
    images = tuple(_entry(f"images[{i}]", DatasetImage, t) for i, t in enumerate(_list("images", table.get("images"))))
    splits = _dict("splits", table.get("splits"))
    return DatasetIndex(
        name=_text("name", table.get("name")),
        dimension=table.get("dimension"),  # type: ignore[arg-type] # checked there
        images=images,
        splits={name: _split(f"splits.{name}", _dict(f"splits.{name}", split)) for name, split in splits.items()},
        source=_entry("source", DatasetSource, table.get("source", {})),
    )


def _split(where: str, table: dict[str, Any]) -> DatasetSplit:
    _require_known(f"{where}.", table, ("subjects", "pairs"))
    subjects = tuple(_text(f"{where}.subjects", s) for s in _list(f"{where}.subjects", table.get("subjects")))
    pairs = table.get("pairs")
    if isinstance(pairs, str):
        return DatasetSplit(subjects, pairs)
    listed = enumerate(_list(f"{where}.pairs", pairs))
    return DatasetSplit(subjects, tuple(_entry(f"{where}.pairs[{i}]", DatasetPair, t) for i, t in listed))


def _entry(where: str, kind: type[Entry], table: object) -> Entry:
    """Make an entry of an object with its keys, all of them texts, the required ones among them."""
    given = _dict(where, table)
    _require_known(f"{where}.", given, tuple(each.name for each in fields(kind)))
    texts = {key: _text(f"{where}.{key}", value) for key, value in given.items() if value is not None}
    try:
        return kind(**texts)
    except TypeError:
        required = {DatasetImage: ("id", "subject", "image"), DatasetPair: ("fixed", "moving")}.get(kind, ())
        missing = ", ".join(key for key in required if key not in texts)
        raise DataError(f"{where}: expected {', '.join(required)}, found no {missing}; add it") from None


def _require_known(where: str, table: dict[str, Any], known: tuple[str, ...]) -> None:
    unknown = [key for key in table if key not in known]
    if unknown:
        raise DataError(f"{where}{unknown[0]}: unknown key; expected some of {', '.join(known)}")


def _text(where: str, value: object) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where}: expected a text, found {_told(value)}")
    if not is_unicode(value):
        raise DataError(f"{where}: expected a text in Unicode, found half of a surrogate pair in {_told(value)}")
    return value


def _list(where: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{where}: expected a list, found {_told(value)}")
    return value


def _dict(where: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected an object with keys, found {_told(value)}")
    return value


def _told(value: object) -> str:
    return "nothing" if value is None else json.dumps(value)[:60]
