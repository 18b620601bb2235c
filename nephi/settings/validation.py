"""Checks of single settings, with errors that name table and key."""

from __future__ import annotations

import math

from nephi.errors import UsageError

LARGEST = 1e15  # its square is finite in float32
SMALLEST = 1e-15  # of numbers above 0: one over its square is finite in float32
MOST_STEPS = 10**9
MOST_POINTS = 10**6  # of one step: patches around more of them do not fit into memory
MOST_THREADS = 1024


def key_of(table: str, name: str) -> str:
    """Return the dotted name of a setting; that of a file's top level has no table."""
    return f"{table}.{name}" if table else name


def require_one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `UsageError` naming the setting unless `value` is one of `choices`."""
    if value not in choices:
        raise UsageError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")


def require_at_least(table: str, low: float, *, high: float = LARGEST, **values: float) -> None:
    """Raise `UsageError` naming the first of a table's `values` outside `low` to `high`."""
    for name, value in values.items():
        if not value >= low:
            raise UsageError(f"{key_of(table, name)}: expected {low} or more, got {value}")
        _require_at_most(key_of(table, name), high, value)


def require_above(table: str, low: float, *, high: float = LARGEST, **values: float) -> None:
    """Raise `UsageError` naming the first of a table's `values` that is not above `low`, or above `high`."""
    for name, value in values.items():
        if not value >= low + SMALLEST:
            raise UsageError(f"{key_of(table, name)}: expected more than {low}, got {value}")
        _require_at_most(key_of(table, name), high, value)


def _require_at_most(name: str, high: float, value: float) -> None:
    if not value <= high:
        expected = "a finite number" if math.isinf(value) else f"at most {high:g}"
        raise UsageError(f"{name}: expected {expected}, got {value}")
