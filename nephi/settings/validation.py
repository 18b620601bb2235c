"""Checks of single settings, with errors that name table and key."""

from __future__ import annotations

import math

from nephi.errors import UsageError


def require_one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `UsageError` naming the setting unless `value` is one of `choices`."""
    if value not in choices:
        raise UsageError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")


def require_at_least(table: str, low: float, **values: float) -> None:
    """Raise `UsageError` naming the first of a table's `values` that is not finite or below `low`."""
    for name, value in values.items():
        if not (math.isfinite(value) and value >= low):
            raise UsageError(f"{table}.{name}: expected {low} or more, got {value}")


def require_above(table: str, low: float, **values: float) -> None:
    """Raise `UsageError` naming the first of a table's `values` that is not finite or not above `low`."""
    for name, value in values.items():
        if not (math.isfinite(value) and value > low):
            raise UsageError(f"{table}.{name}: expected more than {low}, got {value}")
