"""Transforms between two predictions."""

from __future__ import annotations

from dataclasses import replace

from nephi.errors import UsageError
from nephi.fields import FieldStep, StoredTransform, blended
from nephi.transforms import AffineTransform


def blend(one: StoredTransform, other: StoredTransform, share: float) -> StoredTransform:
    """Return the transform whose latent values lie between those of two predictions of one model.

    For a `share` of 0 it is `one`, for 1 the `other` brought to where `one`'s fixed image is; the shift between the
    centres is blended alike. It takes fixed to moving points of `one`'s world (mm, RAS), and so do those in between.

    Raises `UsageError` for a share beyond 0 and 1, and for transforms that are not predictions of one model of neural
    fields, or were refined with their decoders.
    """
    pairs = []
    if len(one.steps) != len(other.steps) or not one.steps:
        raise UsageError("expected two predictions of one model, found transforms of different kinds")
    for first, second in zip(one.steps, other.steps, strict=True):
        if not isinstance(first, FieldStep) or not isinstance(second, FieldStep):
            raise UsageError("expected predictions of neural fields, found a displacement field: it has no codes")
        fields = blended(first.pair, second.pair, share)
        fields.round_tables()  # as they will be stored
        pairs.append(replace(first, pair=fields))
    shift = one.affine.matrix.lerp(other.affine.matrix, share)
    return replace(one, affine=AffineTransform(shift), steps=tuple(pairs))
