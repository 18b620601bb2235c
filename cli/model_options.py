"""Options of those who register by a trained model."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from .options import FILE, Command

if TYPE_CHECKING:
    from nephi.inference import Refinement

WHAT = ("codes", "all")  # a test holds them against nephi's


@dataclass(frozen=True)
class RefineOptions:
    """What the user has said about refining."""

    steps: int | None = None
    what: str | None = None

    @property
    def given(self) -> bool:
        """Whether anything was said."""
        return self.steps is not None or self.what is not None

    def refinement(self) -> Refinement:
        """Return it as nephi takes it."""
        import nephi

        if self.what is not None and not self.steps:
            raise nephi.UsageError("--refine-what: needs --refine N, the number of steps")
        return nephi.inference.Refinement(self.steps or 0, self.what or "all")


def model_option(command: Command) -> Command:
    """Add `--model`."""
    return click.option(
        "--model", type=FILE, metavar="MODEL", help="Predict by a trained model: one forward pass instead of a fit."
    )(command)


def refine_options(command: Command) -> Command:
    """Add `--refine` and `--refine-what`; the command gets them as `refine`."""

    @functools.wraps(command)
    def gathered(*arguments: Any, refine: int | None, refine_what: str | None, **options: Any) -> Any:
        return command(*arguments, refine=RefineOptions(refine, refine_what), **options)

    with_steps = click.option(
        "--refine",
        type=click.IntRange(min=0),
        metavar="N",
        help="Steps of the ordinary fit after the prediction.  [default: 0]",
    )
    with_what = click.option(
        "--refine-what",
        type=click.Choice(WHAT),
        help="Refine what was predicted alone (codes), or the decoders, too.  [default: all]",
    )
    return with_steps(with_what(gathered))
