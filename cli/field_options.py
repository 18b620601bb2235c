"""Options for transform files that do not state their convention."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import FILE, Command

if TYPE_CHECKING:
    from nephi.io import FieldConvention


@dataclass(frozen=True)
class FieldOptions:
    """The convention that the user names for NIfTI fields and matrices in text, and the images that it refers to."""

    name: str | None = None
    fixed: Path | None = None
    moving: Path | None = None
    fsl_fixed: Path | None = None
    fsl_moving: Path | None = None

    def convention(self) -> FieldConvention | None:
        """Return the convention named, with the grids of its images; None where none was named."""
        import nephi

        name, fixed, moving = self.name, self.fixed, self.moving
        if self.fsl_fixed or self.fsl_moving:
            if name not in (None, "fsl") or (self.fsl_fixed and fixed) or (self.fsl_moving and moving):
                raise nephi.UsageError(
                    "--fsl-fixed and --fsl-moving stand for --transform-format fsl with --transform-fixed and "
                    "--transform-moving; give one of the two"
                )
            name, fixed, moving = "fsl", self.fsl_fixed or fixed, self.fsl_moving or moving
        if name is None:
            if fixed or moving:
                raise nephi.UsageError("--transform-fixed and --transform-moving go with --transform-format")
            return None
        grids = [nephi.io.read_grid(path) if path else None for path in (fixed, moving)]
        return nephi.io.FieldConvention(name, *grids)


def field_options(command: Command) -> Command:
    """Add `--transform-format` and the images it may need; the command gets them as `fields`."""

    @functools.wraps(command)
    def gathered(
        *arguments: Any,
        transform_format: str | None,
        transform_fixed: Path | None,
        transform_moving: Path | None,
        fsl_fixed: Path | None,
        fsl_moving: Path | None,
        **options: Any,
    ) -> Any:
        fields = FieldOptions(transform_format, transform_fixed, transform_moving, fsl_fixed, fsl_moving)
        return command(*arguments, fields=fields, **options)

    options = (
        click.option(
            "--transform-format",
            type=click.Choice(["itk", "slicer", "learn2reg", "fsl", "spm", "niftyreg", "greedy"]),
            help="Convention of fields whose header does not state it: displacements in LPS mm (itk, greedy), "
            "RAS mm (slicer), voxels (learn2reg) or scaled voxels (fsl), positions in RAS mm (spm), or what NiftyReg's "
            "header states (niftyreg). Also the tool that wrote an affine matrix in text: fsl (FLIRT), greedy (c3d, "
            "too) or niftyreg.",
        ),
        click.option(
            "--transform-fixed", type=FILE, help="Image that the field lies on, when the field's own header is wrong."
        ),
        click.option(
            "--transform-moving",
            type=FILE,
            help="Moving image of an fsl field, when it does not lie on the field's grid.",
        ),
        click.option(
            "--fsl-fixed", type=FILE, help="Fixed image of an FSL transform (FLIRT's -ref); implies the format fsl."
        ),
        click.option(
            "--fsl-moving", type=FILE, help="Moving image of an FSL transform (FLIRT's -in); implies the format fsl."
        ),
    )
    for option in reversed(options):
        gathered = option(gathered)
    return gathered
