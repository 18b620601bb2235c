"""Steps one after the other: in another world, with as few affine maps between them as possible."""

from __future__ import annotations

from collections.abc import Sequence

from nephi.fields.steps.affine import AffineStep
from nephi.fields.steps.step import Step
from nephi.transforms import AffineTransform


def conjugate_steps(steps: Sequence[Step], to_world: AffineTransform) -> list[Step]:
    """Return the steps of `T phi T^-1`, phi the composition of `steps` and T the affine map `to_world`.

    Steps whose kind cannot represent their conjugate are left as they are, between `T^-1` and `T`.
    """
    before, after = AffineStep(to_world.inverse()), AffineStep(to_world)
    moved: list[Step] = []
    for step in steps:
        conjugated = step.conjugated(to_world)
        moved += [before, step, after] if conjugated is None else [conjugated]
    return merge_affine_steps(moved)


def merge_affine_steps(steps: Sequence[Step]) -> list[Step]:
    """Return the steps with neighbouring affine maps multiplied, and without identities."""
    merged: list[Step] = []
    for step in steps:
        last = merged[-1] if merged else None
        if isinstance(step, AffineStep) and isinstance(last, AffineStep):
            merged[-1] = step.after(last)
        else:
            merged.append(step)
        # At once: steps on both sides of an identity may be affine, too.
        if isinstance(merged[-1], AffineStep) and merged[-1].is_identity():
            merged.pop()
    return merged
