"""The same fields elsewhere, and fields between two others."""

from __future__ import annotations

import copy

import torch

from nephi.errors import UsageError
from nephi.fields.domain import Domain
from nephi.fields.maps import latent_parameters
from nephi.fields.neural_field import FieldPair
from nephi.geometry import Grid


def translated(fields: FieldPair, grid: Grid) -> FieldPair:
    """Return a copy of `fields` over `grid`, the one they were built over moved by a shift.

    A field knows of its grid only where its unit cube lies: `phi(x)` becomes `phi(x - shift) + shift`.
    """
    result = copy.deepcopy(fields)
    for field in (result.forward_field, result.inverse_field):
        if field is not None:
            field.domain = Domain(grid).to(field.amplitude.device)
    return result


@torch.no_grad()
def blended(one: FieldPair, other: FieldPair, share: float) -> FieldPair:
    """Return fields over the place of `one` with latent values between those of two pairs: `one`'s for a share of 0.

    Both have to come from one model: the same networks, other codes and tables. Raises `UsageError` where they do not,
    and for a share that is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"share: expected 0 to 1, got {share}")
    result = copy.deepcopy(one)
    states = result.state_dict(), other.state_dict()
    if {name: value.shape for name, value in states[0].items()} != {name: v.shape for name, v in states[1].items()}:
        raise UsageError("expected two predictions of one model, found fields of different kinds")
    latent = {id(parameter) for parameter in latent_parameters(result)}
    shared = {name for name, parameter in result.named_parameters(remove_duplicate=False) if id(parameter) in latent}
    for name in states[0].keys() - shared:
        if not torch.equal(states[0][name], states[1][name]):
            raise UsageError(f"expected two predictions of one model, found different networks (in {name})")
    for own, others in zip(latent_parameters(result), latent_parameters(other), strict=True):
        own.lerp_(others, share)
    return result
