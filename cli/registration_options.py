"""Options of `nephi register` and `nephi predict`: presets, results, the model and its refinement.

Names of presets, results and parameters are listed again, because nephi itself would import torch; tests compare them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from .options import FILE, Command

if TYPE_CHECKING:
    from nephi.inference import Refinement

PRESETS = (
    "lung-ct",
    "lung-ct-fast",
    "lung-ct-best",
    "ct",
    "brain-mri",
    "multimodal",
    "generic",
    "idir",
    "nephi-eccv2024",
)
FILES = {
    "transform": "transform.nephi",
    "warp": "warp.nii.gz",
    "inverse": "inverse_warp.nii.gz",
    "warped": "warped.nii.gz",
    "report": "report.json",
    "page": "report.html",
}
RESULTS = tuple(FILES)
REFINED = ("codes", "all")


class Preset(click.ParamType):  # type: ignore[type-arg] # generic in recent versions of click only
    """Name of a preset: completed by the shell, validated when the preset is loaded."""

    name = "preset"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the presets that start with the incomplete word."""
        return [CompletionItem(name) for name in PRESETS if name.startswith(incomplete)]


class Results(click.ParamType):  # type: ignore[type-arg]
    """Comma-separated names of results."""

    name = "results"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names without duplicates, in the order of `RESULTS`."""
        if isinstance(value, tuple):
            return value
        names = [name.strip() for name in value.split(",")]
        unknown = [name for name in names if name not in RESULTS]
        if unknown:
            self.fail(f"expected names among {','.join(RESULTS)}, got {unknown[0]!r}", param, ctx)
        if "page" in names and "report" not in names:
            self.fail("page requires report, whose numbers it shows: add report", param, ctx)
        return tuple(name for name in RESULTS if name in names)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the list so far, extended by each name that it does not contain yet."""
        listed, comma, prefix = incomplete.rpartition(",")
        names = [name for name in RESULTS if name not in listed.split(",") and name.startswith(prefix)]
        return [CompletionItem(listed + comma + name) for name in names]


@dataclass(frozen=True)
class RefineOptions:
    """Values of `--refine` and `--refine-parameters`, None where the user did not set them."""

    steps: int | None = None
    parameters: str | None = None

    @property
    def is_set(self) -> bool:
        """Whether the user set one of the two."""
        return self.steps is not None or self.parameters is not None

    def refinement(self) -> Refinement:
        """Return the options as `nephi.inference.Refinement`."""
        import nephi

        if self.parameters is not None and not self.steps:
            raise nephi.UsageError("--refine-parameters: requires --refine N, the number of steps")
        return nephi.inference.Refinement(self.steps or 0, self.parameters or "all")


def model_option(command: Command) -> Command:
    """Add `--model`."""
    return click.option("--model", type=FILE, metavar="MODEL", help="Trained model whose prediction replaces the fit.")(
        command
    )


def refine_options(command: Command) -> Command:
    """Add `--refine` and `--refine-parameters`, passed to the command as `refine`."""

    @functools.wraps(command)
    def wrapper(*arguments: Any, refine: int | None, refine_parameters: str | None, **options: Any) -> Any:
        return command(*arguments, refine=RefineOptions(refine, refine_parameters), **options)

    with_steps = click.option(
        "--refine",
        type=click.IntRange(min=0),
        metavar="N",
        help="Steps of instance optimisation after the prediction.  [default: 0]",
    )
    with_parameters = click.option(
        "--refine-parameters",
        type=click.Choice(REFINED),
        help="Parameters to refine: the predicted latent values only, or the decoder weights as well.  [default: all]",
    )
    with_old_name = click.option(
        "--refine-what", hidden=True, expose_value=False, callback=_reject_old_name, help="Now --refine-parameters."
    )
    return with_steps(with_parameters(with_old_name(wrapper)))


def _reject_old_name(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise click.UsageError(f"{parameter.opts[0]}: renamed to --refine-parameters", context)
