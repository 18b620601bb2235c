"""The index of a data set as a JSON file."""

from __future__ import annotations

import json
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from nephi.datasets.entries import DatasetImage, DatasetPair, DatasetSource, DatasetSplit
from nephi.datasets.index import DatasetIndex
from nephi.documents import is_unicode, read_json
from nephi.errors import DataError

FORMAT = "nephi-dataset"
VERSION = 1
Entry = TypeVar("Entry", DatasetSource, DatasetImage, DatasetPair)


def read_dataset_index(path: str | Path) -> DatasetIndex:
    """Read the index of a data set, a JSON file, or the folder that holds it as `dataset.json`.

    All files that it names must exist; none is opened.

    Raises `DataError` that names file and entry, what was expected, what was found, and how to correct it.
    """
    path = _index_path(path)
    table = _read_table(path)
    try:
        index = replace(_parse_index(table), folder=path.parent)
        _require_files(index)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return index


def write_dataset_index(index: DatasetIndex, path: str | Path) -> None:
    """Write an index as JSON, atomically, to a file, or to `dataset.json` in an existing folder.

    Equal indices give equal bytes.

    Raises `DataError` if a file that it names is missing, relative to the folder of `path`, or `path` cannot be
    written.
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
            "pairs": split.pairs if isinstance(split.pairs, str) else [_entry_table(pair) for pair in split.pairs],
        }
        for name, split in index.splits.items()
    }
    table = {
        "format": FORMAT,
        "version": VERSION,
        "name": index.name,
        "dimension": index.dimension,
        "source": _entry_table(index.source),
        "images": [_entry_table(image) for image in index.images],
        "splits": splits,
    }
    write_text(path, json.dumps(table, indent=2, ensure_ascii=False) + "\n")


def _index_path(path: str | Path) -> Path:
    path = Path(path)
    return path / "dataset.json" if path.is_dir() else path


def _entry_table(entry: DatasetSource | DatasetImage | DatasetPair) -> dict[str, str]:
    values = {key.name: getattr(entry, key.name) for key in fields(entry)}
    return {key: value for key, value in values.items() if value is not None}


def _require_files(index: DatasetIndex) -> None:
    missing = [(entry, relative) for entry, relative in index.files() if not os.path.isfile(index.path(relative))]
    if missing:
        entry, relative = missing[0]
        more = f" ({len(missing) - 1} more are missing)" if len(missing) > 1 else ""
        raise DataError(f"{entry}: no file {relative} in the folder of the index{more}; add it, or remove the entry")


def _read_table(path: Path) -> dict[str, Any]:
    table = read_json(path, "a data set's index (see docs/reference/datasets.md)")
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        found = repr(table.get("format")) if isinstance(table, dict) else f"a {type(table).__name__}"
        raise DataError(f"{path}: expected the index of a data set, with format {FORMAT!r}, found {found}")
    if (version := table.get("version")) != VERSION:
        raise DataError(f"{path}: version: expected {VERSION}, found {version!r}; another version of nephi wrote it")
    return table


def _parse_index(table: dict[str, Any]) -> DatasetIndex:
    _require_known("", table, ("format", "version", "name", "dimension", "source", "images", "splits"))
    images = enumerate(_require_list("images", table.get("images")))
    splits = _require_table("splits", table.get("splits"))
    return DatasetIndex(
        name=_require_text("name", table.get("name")),
        dimension=table.get("dimension"),  # type: ignore[arg-type] # validated by DatasetIndex
        images=tuple(_parse_entry(f"images[{i}]", DatasetImage, image) for i, image in images),
        splits={name: _parse_split(f"splits.{name}", split) for name, split in splits.items()},
        source=_parse_entry("source", DatasetSource, table.get("source", {})),
    )


def _parse_split(key: str, value: object) -> DatasetSplit:
    table = _require_table(key, value)
    _require_known(f"{key}.", table, ("subjects", "pairs"))
    names = _require_list(f"{key}.subjects", table.get("subjects"))
    subjects = tuple(_require_text(f"{key}.subjects", name) for name in names)
    pairs = table.get("pairs")
    if isinstance(pairs, str):
        return DatasetSplit(subjects, pairs)
    listed = enumerate(_require_list(f"{key}.pairs", pairs))
    return DatasetSplit(subjects, tuple(_parse_entry(f"{key}.pairs[{i}]", DatasetPair, pair) for i, pair in listed))


def _parse_entry(key: str, kind: type[Entry], value: object) -> Entry:
    """Return the entry of a JSON object. Raises `DataError` for unknown or missing keys, or values other than texts."""
    table = _require_table(key, value)
    _require_known(f"{key}.", table, tuple(each.name for each in fields(kind)))
    texts = {name: _require_text(f"{key}.{name}", text) for name, text in table.items() if text is not None}
    try:
        return kind(**texts)
    except TypeError:
        required = {DatasetImage: ("id", "subject", "image"), DatasetPair: ("fixed", "moving")}.get(kind, ())
        missing = ", ".join(name for name in required if name not in texts)
        raise DataError(f"{key}: expected {', '.join(required)}, found no {missing}; add it") from None


def _require_known(prefix: str, table: dict[str, Any], known: tuple[str, ...]) -> None:
    unknown = [name for name in table if name not in known]
    if unknown:
        raise DataError(f"{prefix}{unknown[0]}: unknown key; expected some of {', '.join(known)}")


def _require_text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise DataError(f"{key}: expected a text, found {_short_json(value)}")
    if not is_unicode(value):
        raise DataError(f"{key}: expected a text in Unicode, found half of a surrogate pair in {_short_json(value)}")
    return value


def _require_list(key: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{key}: expected a list, found {_short_json(value)}")
    return value


def _require_table(key: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{key}: expected an object with keys, found {_short_json(value)}")
    return value


def _short_json(value: object) -> str:
    return "nothing" if value is None else json.dumps(value)[:60]
