"""What `nephi register` and `nephi predict` may be asked for, as far as the command line itself has to know it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from .options import FILE, Command

# Written down here, as asking nephi would import torch; a test holds them against it.
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

config_option = click.option(
    "--config", type=FILE, metavar="F.toml", help="Settings file; what it leaves out comes from the preset."
)
threads_option = click.option(
    "--threads", type=click.IntRange(min=0), metavar="N", help="CPU threads; 0 for all.  [default: 1]"
)


def seed_option(text: str) -> Callable[[Command], Command]:
    """Return what adds `--seed`, with its help."""
    seeds = click.IntRange(0, 2**32 - 1)
    return click.option("--seed", type=seeds, metavar="N", default=0, show_default=True, help=text)


class Preset(click.ParamType):  # type: ignore[type-arg] # generic in late versions of click only
    """A preset's name; nephi itself says which there are, here they are offered to the shell."""

    name = "preset"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the presets that begin like that."""
        return [CompletionItem(name) for name in PRESETS if name.startswith(incomplete)]


class Results(click.ParamType):  # type: ignore[type-arg]
    """Names of results with commas between them."""

    name = "results"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names, in the order in which results are listed, each once."""
        if isinstance(value, tuple):
            return value
        names = [name.strip() for name in value.split(",")]
        unknown = [name for name in names if name not in RESULTS]
        if unknown:
            self.fail(f"{unknown[0]!r} is no result; choose from {','.join(RESULTS)}", param, ctx)
        if "page" in names and "report" not in names:
            self.fail("page shows the numbers of report; give both", param, ctx)
        return tuple(name for name in RESULTS if name in names)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the list so far with each name that may come next."""
        before, comma, begun = incomplete.rpartition(",")
        left = [name for name in RESULTS if name not in before.split(",") and name.startswith(begun)]
        return [CompletionItem(before + comma + name) for name in left]
