"""The kinds of steps, by their name in files and by the transforms that they store."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nephi.errors import DataError
from nephi.fields.steps.affine import AffineStep
from nephi.fields.steps.attention import AttentionStep
from nephi.fields.steps.displacement import DisplacementStep
from nephi.fields.steps.fields import FieldStep
from nephi.fields.steps.spline import SplineStep
from nephi.fields.steps.step import Step
from nephi.fields.steps.velocity import VelocityStep
from nephi.tables import short_repr
from nephi.transforms import Transform

STEPS: dict[str, type[Step]] = {
    step.kind: step for step in (FieldStep, DisplacementStep, AffineStep, VelocityStep, SplineStep, AttentionStep)
}
"""The kinds of steps by their name; a new kind is added here."""


def step_of(transform: Transform, inverse: Transform | None = None) -> Step:
    """Return the step that stores a transform, and the inverse that was predicted with it, see `Step.of`.

    Raises `TypeError` for a transform that no kind of step stores; compositions are stored as several steps.
    """
    for step in STEPS.values():
        if step.transform is type(transform):
            return step.of(transform, inverse)
    known = ", ".join(step.transform.__name__ for step in STEPS.values())
    raise TypeError(f"expected one of {known}, or compositions of these, got {type(transform).__name__}")


def step_table(step: Step) -> dict[str, Any]:
    """Return the table of a step in the header of a file."""
    table = step.table()
    return table if "field" in table else {"kind": step.kind, **table}


def read_step(table: dict[str, Any], tensors: dict[str, Tensor]) -> Step:
    """Return the step of a table and tensors by their names in the step; raise the errors of `Step.read`.

    Raises `DataError` for an unknown kind, and for a tensor that the step does not need.
    """
    legacy = DisplacementStep.kind if table.get("field", {}) is None else FieldStep.kind
    kind = table.get("kind", legacy)
    if not isinstance(kind, str) or kind not in STEPS:
        raise DataError(f"expected a step of kind {', '.join(STEPS)}, found {short_repr(kind)}; update nephi")
    step = STEPS[kind].read(table, tensors)
    if tensors:
        raise DataError(f"Unexpected key {next(iter(tensors))} in a step of kind {kind}")
    return step
