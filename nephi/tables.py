"""Settings from plain tables."""

from __future__ import annotations

import dataclasses
import reprlib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from nephi.errors import UsageError

T = TypeVar("T")
LONGEST_LIST = 1000
LARGEST = 2**53  # where floats stop to hold every whole number


def from_table(kind: type[T], table: Any, path: str = "") -> T:
    """Fill a dataclass from a plain table (of TOML or JSON), strictly: every key known, every value of its type.

    Keys that are left out keep their defaults. Whole numbers serve as numbers. Raises `UsageError` that names the key,
    with `path` before it, what was expected and what was found.
    """
    if not isinstance(table, Mapping):
        raise UsageError(f"{path.rstrip('.') or 'settings'}: expected a table, got {shown(table)}")
    all_hints = typing.get_type_hints(kind)
    hints = {field.name: all_hints[field.name] for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(table) - set(hints))
    if unknown:
        raise UsageError(
            f"unknown setting {path}{unknown[0][:80]}; known are {', '.join(path + name for name in hints)}"
        )
    return kind(**{key: _value(hints[key], value, f"{path}{key}") for key, value in table.items()})


def _value(kind: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return from_table(kind, value, f"{path}.")
    if isinstance(kind, types.GenericAlias):  # tuple[X, ...] or tuple[X, X]
        inner = typing.get_args(kind)
        if not isinstance(value, list | tuple) or (inner[-1] is not ... and len(value) != len(inner)):
            raise UsageError(f"{path}: expected {_spelled(kind)}, got {shown(value)}")
        if len(value) > LONGEST_LIST:
            raise UsageError(f"{path}: expected a list of at most {LONGEST_LIST} values, got {len(value)}")
        return tuple(_value(inner[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise UsageError(f"{path}: expected a number, got {shown(value)}") from None
    if kind is int and type(value) is int and abs(value) >= LARGEST:
        raise UsageError(f"{path}: expected a whole number below 2^53, got {shown(value)}")
    if type(value) is not kind:
        raise UsageError(f"{path}: expected {_spelled(kind)}, got {shown(value)}")
    return value


def shown(value: Any) -> str:
    """Return a value as messages show it: not at length."""
    return reprlib.repr(value)


def _spelled(kind: Any) -> str:
    names = {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}
    return names.get(kind, f"a list ({kind})")
