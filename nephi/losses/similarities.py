"""The similarity losses by name, for settings and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from torch import Tensor

from nephi.errors import UsageError
from nephi.losses.mind import mind_ssc
from nephi.losses.mse import mse
from nephi.losses.ncc import lncc, lncc_squared, ncc
from nephi.losses.nmi import nmi


class Similarity(Protocol):
    """A loss between patches of two images; lower is better."""

    def __call__(self, fixed: Tensor, moving: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the scalar loss of `fixed` and `moving`, both (P, K), with patch `weights` (P,) or None."""
        ...


SIMILARITIES: Mapping[str, Similarity] = MappingProxyType(
    {"mse": mse, "ncc": ncc, "lncc": lncc, "lncc2": lncc_squared, "mind": mind_ssc, "nmi": nmi}
)


def similarity(name: str) -> Similarity:
    """Return the similarity loss called `name`; raise `UsageError`, listing the known names, for another."""
    if name not in SIMILARITIES:
        raise UsageError(f"unknown similarity {name!r}; known are {', '.join(SIMILARITIES)}")
    return SIMILARITIES[name]
