"""Options of `nephi register` and `nephi predict`: presets, results, the model and its refinement.

Names of presets, results and parameters are listed again, because nephi itself would import torch; tests compare them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
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
    "breathing",
    "brain-mri",
    "multimodal",
    "generic",
    "generic-best",
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
REFINED = ("codes", "all", "network")


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
    """Values of `--refine`, `--refine-parameters` and `--refine-rate`, None where the user did not set them."""

    steps: int | None = None
    parameters: str | None = None
    rate: float | None = None

    @property
    def names(self) -> list[str]:
        """The options that the user set."""
        values = {"--refine": self.steps, "--refine-parameters": self.parameters, "--refine-rate": self.rate}
        return [name for name, value in values.items() if value is not None]

    def refinement(self, similarity: str | None = None) -> Refinement:
        """Return the options as `nephi.inference.Refinement`; `similarity` is the option of that name."""
        import nephi

        if self.parameters is not None and not self.steps:
            raise nephi.UsageError("--refine-parameters: requires --refine N, the number of steps")
        if self.rate is not None and self.parameters != "network":
            raise nephi.UsageError("--refine-rate: requires --refine-parameters network, whose step size it is")
        refinement = nephi.inference.Refinement(self.steps or 0, self.parameters or "all")
        if refinement.parameters == "network":
            refinement = replace(refinement, rate=self.rate or refinement.rate, similarity=similarity or "")
        return refinement


def model_option(command: Command) -> Command:
    """Add `--model`."""
    return click.option("--model", type=FILE, metavar="MODEL", help="Trained model whose prediction replaces the fit.")(
        command
    )


class Alignments(click.ParamType):  # type: ignore[type-arg]
    """Comma-separated names of alignments, validated with the model."""

    name = "alignments"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names in their order."""
        return value if isinstance(value, tuple) else tuple(name.strip() for name in value.split(","))


def align_option(command: Command) -> Command:
    """Add `--align`."""
    return click.option(
        "--align",
        type=Alignments(),
        metavar="NAME,...",
        default=(),
        help="Alignments of a model with keypoints: rigid, similarity, affine, halfway (symmetric) and tps:LAMBDA "
        "(spline of that smoothing). The first is the result, the others get folders in it.  [default: that of the "
        "model]",
    )(command)


def alignment_folder(name: str) -> str:
    """Return the name of the folder of a further alignment: `tps-0.1` for `tps:0.1`."""
    return name.replace(":", "-")


def refine_options(command: Command) -> Command:
    """Add `--refine`, `--refine-parameters` and `--refine-rate`, passed to the command as `refine`."""

    @functools.wraps(command)
    def wrapper(
        *arguments: Any, refine: int | None, refine_parameters: str | None, refine_rate: float | None, **options: Any
    ) -> Any:
        return command(*arguments, refine=RefineOptions(refine, refine_parameters, refine_rate), **options)

    with_steps = click.option(
        "--refine",
        type=click.IntRange(min=0),
        metavar="N",
        help="Steps of instance optimisation after the prediction.  [default: 0]",
    )
    with_parameters = click.option(
        "--refine-parameters",
        type=click.Choice(REFINED),
        help="Parameters to refine: the predicted latent values only (codes); the whole deformation of any model, as "
        "neural fields (all); or all weights of a copy of the model, by its training objective (network).  "
        "[default: all]",
    )
    with_rate = click.option(
        "--refine-rate",
        type=click.FloatRange(min=0, max=1, min_open=True),
        metavar="R",
        help="Learning rate of --refine-parameters network.  [default: 2e-05]",
    )
    with_old_name = click.option(
        "--refine-what", hidden=True, expose_value=False, callback=_reject_old_name, help="Now --refine-parameters."
    )
    return with_steps(with_parameters(with_rate(with_old_name(wrapper))))


def _reject_old_name(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise click.UsageError(f"{parameter.opts[0]}: renamed to --refine-parameters", context)
