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
from nephi.kernels import MEASURES, can_compare
from nephi.losses.compiled import compiled_similarity
from nephi.losses.mind import mind_ssc
from nephi.losses.mse import mse
from nephi.losses.ncc import GLOBAL_EPSILON, LOCAL_EPSILON, lncc, lncc_pooled, lncc_squared, ncc
from nephi.losses.nmi import nmi
from nephi.losses.shapes import check_patches


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
"""The similarity losses by name. Settings and `with_similarity` take sums such as `lncc2 + 10 mse` as well."""
LOCAL = ("lncc", "lncc2", "pooled", "mind")  # these need patches; the others compare single samples as well


@cache
def similarity(formula: str, variance_floor: float | None = None) -> Similarity:
    """Return the similarity loss of a formula: a name, or a weighted sum of several, such as `lncc2 + 10 mse`.

    `variance_floor` is the standard deviation at which a patch counts half in `lncc` and `lncc2`; None uses
    their defaults. Raises `UsageError`, listing the known names, for an invalid formula.
    """
    terms = [(weight, _with_floor(name, variance_floor)) for weight, name in similarity_terms(formula)]
    factors = similarity_factors(formula)
    epsilons = local_epsilon(variance_floor), GLOBAL_EPSILON
    has_kernel = factors.keys() <= set(MEASURES)

    def total(fixed: Tensor, moving: Tensor, weights: Tensor | None = None) -> Tensor:
        if has_kernel and can_compare(fixed, moving, weights):
            check_patches(fixed, moving, weights, 2 if factors.keys() & set(LOCAL) else 1)
            return compiled_similarity(fixed, moving, weights, factors, epsilons)
        return torch.stack([weight * loss(fixed, moving, weights) for weight, loss in terms]).sum()

    return total


def local_epsilon(variance_floor: float | None) -> float:
    """Return the constant that `lncc` and `lncc2` add to the product of both variances, for a `variance_floor`."""
    return LOCAL_EPSILON if variance_floor is None else variance_floor**4


def _with_floor(name: str, variance_floor: float | None) -> Similarity:
    fading = {"lncc": lncc, "lncc2": lncc_squared}
    return partial(fading[name], epsilon=local_epsilon(variance_floor)) if name in fading else SIMILARITIES[name]


@cache
def similarity_factors(formula: str) -> Mapping[str, float]:
    """Return the weight of each loss in a formula by its name; raise `UsageError` as `similarity_terms`."""
    factors: dict[str, float] = {}
    for weight, name in similarity_terms(formula):
        factors[name] = factors.get(name, 0.0) + weight
    return MappingProxyType(factors)


@cache
def similarity_terms(formula: str) -> tuple[tuple[float, str], ...]:
    """Return the weights and names of a formula like `lncc2 + 10 mse`; raise `UsageError` for an invalid one."""
    return tuple(_parse_term(part.split(), formula) for part in formula.split("+"))


def _parse_term(words: list[str], formula: str) -> tuple[float, str]:
    name = words[-1] if words else ""
    if name not in SIMILARITIES:
        raise UsageError(f"similarity: expected {', '.join(SIMILARITIES)} or a sum of them, got {formula!r}")
    try:
        weight = float(words[0]) if len(words) == 2 else 1.0
    except ValueError:
        weight = math.nan
    if len(words) > 2 or not 0 < weight < math.inf:
        raise UsageError(f"similarity {formula!r}: expected names with weights above 0, such as lncc2 + 10 mse")
    return weight, name
