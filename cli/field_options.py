"""Options for displacement fields whose header does not say what their vectors mean."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import FILE, Command

if TYPE_CHECKING:
    from nephi import FieldConvention


@dataclass(frozen=True)
class FieldOptions:
    """What the user has said about NIfTI fields."""

    name: str | None = None
    fixed: Path | None = None
    moving: Path | None = None

    def convention(self) -> FieldConvention | None:
        """Return the convention named, its images read; None where none was named."""
        import nephi

        if self.name is None:
            if self.fixed or self.moving:
                raise nephi.UsageError("--transform-fixed and --transform-moving go with --transform-format")
            return None
        fixed, moving = (nephi.read_grid(path) if path else None for path in (self.fixed, self.moving))
        return nephi.FieldConvention(self.name, fixed, moving)


def field_options(command: Command) -> Command:
    """Add `--transform-format` and the images it may need; the command gets them as `fields`."""

    @functools.wraps(command)
    def gathered(
        *arguments: Any,
        transform_format: str | None,
        transform_fixed: Path | None,
        transform_moving: Path | None,
        **options: Any,
    ) -> Any:
        return command(*arguments, fields=FieldOptions(transform_format, transform_fixed, transform_moving), **options)

    with_format = click.option(
        "--transform-format",
        type=click.Choice(["itk", "slicer", "learn2reg", "fsl", "spm", "niftyreg", "greedy"]),
        help="Convention of a NIfTI field, when its header does not state it: displacements in LPS mm (itk, greedy), "
        "RAS mm (slicer), voxels (learn2reg) or scaled voxels (fsl), positions in RAS mm (spm), or what "
        "NiftyReg's header states (niftyreg).",
    )
    with_fixed = click.option(
        "--transform-fixed", type=FILE, help="Image that the field lies on, when the field's own header is wrong."
    )
    with_moving = click.option(
        "--transform-moving", type=FILE, help="Moving image of an fsl field, when it does not lie on the field's grid."
    )
    return with_format(with_fixed(with_moving(gathered)))
