"""Strict conversion of plain tables (TOML, JSON) to settings."""

from __future__ import annotations

import dataclasses
import reprlib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from nephi.errors import UsageError

T = TypeVar("T")
MAX_VALUES = 1000
MAX_INTEGER = 2**53  # above it, floats do not represent every whole number


def from_table(kind: type[T], table: Any, path: str = "") -> T:
    """Convert a plain table (of TOML or JSON) to a dataclass; unknown keys and values of other types are refused.

    Missing keys have their defaults. Whole numbers are accepted as numbers. Raises `UsageError` naming the key, with
    the prefix `path`, what was expected and what was given.
    """
    if not isinstance(table, Mapping):
        raise UsageError(f"{path.rstrip('.') or 'settings'}: expected a table, got {short_repr(table)}")
    all_hints = typing.get_type_hints(kind)
    hints = {field.name: all_hints[field.name] for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(table) - set(hints))
    if unknown:
        known = ", ".join(path + name for name in hints)
        raise UsageError(f"{path}{unknown[0][:80]}: unknown setting; expected one of {known}")
    return kind(**{key: convert(hints[key], value, f"{path}{key}") for key, value in table.items()})


def convert(kind: Any, value: Any, path: str) -> Any:
    """Convert a plain value to `kind`: a dataclass, a tuple, a table of anything, or a plain type.

    Raises `UsageError` naming `path`, as `from_table`.
    """
    if typing.get_origin(kind) is dict:
        if not isinstance(value, Mapping):
            raise UsageError(f"{path}: expected a table, got {short_repr(value)}")
        return dict(value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return from_table(kind, value, f"{path}.")
    if isinstance(kind, types.GenericAlias):  # tuple[X, ...] or tuple[X, X]
        inner = typing.get_args(kind)
        if not isinstance(value, list | tuple) or (inner[-1] is not ... and len(value) != len(inner)):
            raise UsageError(f"{path}: expected {_type_name(kind)}, got {short_repr(value)}")
        if len(value) > MAX_VALUES:
            raise UsageError(f"{path}: expected a list of at most {MAX_VALUES} values, got {len(value)}")
        return tuple(convert(inner[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise UsageError(f"{path}: expected a number, got {short_repr(value)}") from None
    if kind is int and type(value) is int and abs(value) >= MAX_INTEGER:
        raise UsageError(f"{path}: expected a whole number below 2^53, got {short_repr(value)}")
    if type(value) is not kind:
        raise UsageError(f"{path}: expected {_type_name(kind)}, got {short_repr(value)}")
    return value


def short_repr(value: Any) -> str:
    """Return a shortened representation of a value, for messages."""
    return reprlib.repr(value)


def _type_name(kind: Any) -> str:
    names = {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}
    if any(dataclasses.is_dataclass(inner) for inner in typing.get_args(kind)):
        return "a list of tables"
    return names.get(kind, f"a list ({kind})")
