"""The similarity losses by name, for settings and the command line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache, partial
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.losses.mind import mind_ssc
from nephi.losses.mse import mse
from nephi.losses.ncc import lncc, lncc_pooled, lncc_squared, ncc
from nephi.losses.nmi import nmi


class Similarity(Protocol):
    """A loss between patches of two images; lower is better."""

    def __call__(self, fixed: Tensor, moving: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the scalar loss of `fixed` and `moving`, both (P, K), with patch `weights` (P,) or None."""
        ...


SIMILARITIES: Mapping[str, Similarity] = MappingProxyType(
    {
        "mse": mse,
        "ncc": ncc,
        "lncc": lncc,
        "lncc2": lncc_squared,
        "pooled": lncc_pooled,
        "mind": mind_ssc,
        "nmi": nmi,
    }
)
LOCAL = ("lncc", "lncc2", "pooled", "mind")  # these compare patches, the others single samples, too


@cache
def similarity(formula: str, contrast: float | None = None) -> Similarity:
    """Return a similarity loss: one called by its name, or a weighted sum of several, such as `lncc2 + 10 mse`.

    `contrast` is the standard deviation at which a patch counts half in `lncc` and `lncc2`; None leaves it to them.
    Raises `UsageError`, listing the known names, for anything else.
    """
    terms = [(weight, _with_contrast(name, contrast)) for weight, name in similarity_terms(formula)]
    if len(terms) == 1 and terms[0][0] == 1:
        return terms[0][1]

    def total(fixed: Tensor, moving: Tensor, weights: Tensor | None = None) -> Tensor:
        return torch.stack([weight * loss(fixed, moving, weights) for weight, loss in terms]).sum()

    return total


def _with_contrast(name: str, contrast: float | None) -> Similarity:
    fading = {"lncc": lncc, "lncc2": lncc_squared}
    if contrast is None or name not in fading:
        return SIMILARITIES[name]
    return partial(fading[name], epsilon=contrast**4)  # the product of both variances


@cache
def similarity_terms(formula: str) -> tuple[tuple[float, str], ...]:
    """Return the weights and names of a formula like `lncc2 + 10 mse`; raise `UsageError` for anything else."""
    return tuple(_term(part.split(), formula) for part in formula.split("+"))


def _term(words: list[str], formula: str) -> tuple[float, str]:
    name = words[-1] if words else ""
    if name not in SIMILARITIES:
        raise UsageError(f"unknown similarity {formula!r}; known are {', '.join(SIMILARITIES)}, and sums of them")
    try:
        weight = float(words[0]) if len(words) == 2 else 1.0
    except ValueError:
        weight = math.nan
    if len(words) > 2 or not 0 < weight < math.inf:
        raise UsageError(f"similarity {formula!r}: expected names with weights above 0, such as lncc2 + 10 mse")
    return weight, name
