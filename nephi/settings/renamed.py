"""Settings by their earlier names: errors that name the new ones, and conversion of stored tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nephi.errors import UsageError

BOTH_ORDERS = ("gradicon", "icon")  # their weights are of the mean over both orders, once of the sum

FIT_NAMES: Mapping[str, str] = {
    "fit.similarity": "objective.similarity",
    "fit.patches": "objective.points",
    "fit.share": "objective.fraction",
    "fit.radius": "objective.radius",
    "fit.contrast": "objective.variance_floor",
    "fit.match_contrast": "optimization.match_intensities",
    **{f"fit.{name}": f"optimization.{name}" for name in ("rate", "warmup", "decay", "plateau")},
    "regularity.points": "objective.regularization_points",
    "regularity.everywhere": "objective.background_points",
    **{
        f"regularity.{name}": f"objective.{name}"
        for name in (*BOTH_ORDERS, "folding", "diffusion", "volume", "bending", "bending_step", "codes")
    },
}
"""Earlier names of a registration's settings, dotted, and those that replace them."""
EXPLANATIONS: Mapping[str, str] = {
    "fit": "objective and optimization",
    "regularity": "objective",
    **{
        f"regularity.{name}": f"objective.{name}, the weight of the mean over both orders: twice the old value"
        for name in BOTH_ORDERS
    },
}
"""Earlier names that need more than the new one in an error: whole tables, and weights with another meaning."""


def require_current_names(table: Mapping[str, Any], renamed: Mapping[str, str], source: str) -> None:
    """Raise `UsageError` naming `source`, an earlier name in `table` and what replaces it.

    `renamed` maps earlier names of tables and keys, dotted, to the text that follows "is now".
    """
    for name in _dotted_names(table):
        if name in renamed:
            raise UsageError(f"{source}: {name}: is now {renamed[name]}")


def require_current_fit_names(table: Mapping[str, Any], source: str) -> None:
    """Raise `UsageError` for an earlier name in the table of a registration's settings."""
    require_current_names(table, {**FIT_NAMES, **EXPLANATIONS}, source)


def with_current_names(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stored table of a registration's settings with its earlier names replaced; others are kept."""
    result = {name: value for name, value in table.items() if name not in ("fit", "regularity")}
    for old in ("fit", "regularity"):
        values = table.get(old, {})
        if not isinstance(values, Mapping):
            return dict(table)
        for key, value in values.items():
            new_table, new_key = FIT_NAMES.get(f"{old}.{key}", f"{old}.{key}").split(".", 1)
            doubled = old == "regularity" and key in BOTH_ORDERS and isinstance(value, int | float)
            result[new_table] = {**result.get(new_table, {}), new_key: 2 * value if doubled else value}
    return _without_unused_weights(result) if table.keys() & {"fit", "regularity"} else result


def _without_unused_weights(table: dict[str, Any]) -> dict[str, Any]:
    """Return the table with weights of 0 for terms that earlier versions left out without an error."""
    field = table.get("field")
    if not isinstance(field, Mapping):
        return table
    unused = () if field.get("inverse", True) else BOTH_ORDERS
    if not (field.get("global_codes", 0) or field.get("local_codes", 0)):
        unused = (*unused, "codes")  # once a weight of codes alone, now of the values of dense grids as well
    return {**table, "objective": {**table.get("objective", {}), **dict.fromkeys(unused, 0.0)}} if unused else table


def _dotted_names(table: Mapping[str, Any]) -> list[str]:
    """Return the keys of the tables in `table`, dotted, then the names of the tables."""
    tables = {name: value for name, value in table.items() if isinstance(value, Mapping)}
    keys = [f"{name}.{key}" for name, values in tables.items() for key in values]
    return [*keys, *table]
