"""Registrations as the public API gives them: they show themselves in notebooks.

The pictures come from a room above the one that fits, so they are joined here, above both.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from nephi import optimize
from nephi.report import notebook_html

Arguments = ParamSpec("Arguments")


class Registration(optimize.Registration):
    """The result of `register` or `predict`; in a notebook, checkerboards before and after.

    `stored` is what goes into `transform.nephi`; `history` has for each step a row of the level (counted from 0), the
    loss and its terms; `usage` the seconds of each stage; `warnings` the texts of every `DataWarning` about the images,
    their masks and the result.
    """

    def _repr_html_(self) -> str:
        return notebook_html(self)


def shown(fit: Callable[Arguments, optimize.Registration]) -> Callable[Arguments, Registration]:
    """Return `fit` with results that show themselves."""

    @wraps(fit)
    def showing(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Registration:
        return Registration(**vars(fit(*args, **kwargs)))

    return showing


register = shown(optimize.register)
