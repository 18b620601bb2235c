"""Options for transforms: one or several files, their inverse, and the convention of files that do not state it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import FILE, IDENTITY, Command

if TYPE_CHECKING:
    from nephi import Transform
    from nephi.io import FieldConvention


def transform_option(command: Command) -> Command:
    """Add `-t`, one or more transforms in ANTs' order, and `--inverse`."""
    command = click.option(
        "-t",
        "--transform",
        "transforms",
        type=FILE,
        multiple=True,
        required=True,
        metavar="TRANSFORM",
        help="File (.nephi, or a displacement field, affine or composite transform of ITK, ANTs, elastix, ...) or "
        "`identity`. Repeat the option for several transforms, in ANTs' order: points are mapped by the first one "
        "first (-t warp -t affine). '[FILE,1]' is the inverse of FILE.",
    )(command)
    return click.option("--inverse", is_flag=True, help="Use the inverse of the (composed) transform.")(command)


def parse_inverse(path: Path) -> tuple[Path, bool]:
    """Parse ANTs' `[FILE,1]` and `[FILE,0]`: return the file, and whether its inverse is meant.

    Any other name, and that of an existing file, is returned unchanged. Raises `UsageError` for other brackets.
    """
    from nephi import UsageError

    text = str(path)
    if not (text.startswith("[") and text.endswith("]")) or path.exists():
        return path, False
    name, comma, flag = (part.strip() for part in text[1:-1].rpartition(","))
    if not (name and comma and flag in ("0", "1")):
        raise UsageError(f"-t: expected [FILE,1] (the inverse of a transform) or [FILE,0], got {text}")
    return Path(name), flag == "1"


def read_one(path: Path, inverse: bool = False, convention: FieldConvention | None = None) -> Transform:
    """Read a transform, or its inverse; `path` may be ANTs' `[FILE,1]`, whose inverse is the file's transform."""
    from nephi import read_inverse, read_transform

    file, bracketed = parse_inverse(path)
    return (read_inverse if inverse != bracketed else read_transform)(file, convention)


def read_composed(
    paths: tuple[Path, ...], inverse: bool, dimension: int, convention: FieldConvention | None = None
) -> Transform:
    """Read and compose the transforms of `-t A -t B`: points are mapped by A first, then by B, as in ANTs.

    `[A,1]` is the inverse of A, as in ANTs. `identity` is dropped; alone, it has the `dimension` of the images or
    points that it is applied to. Raises `DataError` for transforms of different dimensions.
    """
    from nephi import AffineTransform, Composite, DataError

    paths = tuple(path for path in paths if parse_inverse(path)[0] != IDENTITY)
    if not paths:
        return AffineTransform.identity(dimension)
    # The inverse of "A, then B" is "inverse of B, then inverse of A".
    ordered = tuple(reversed(paths)) if inverse else paths
    members = [read_one(path, inverse, convention) for path in ordered]
    dimensions = [member.dimension for member in (reversed(members) if inverse else members)]
    if len(set(dimensions)) > 1:
        listed = ", ".join(f"{path} ({d}-D)" for path, d in zip(paths, dimensions, strict=True))
        raise DataError(f"-t: expected transforms of the same dimension, got {listed}")
    return members[0] if len(members) == 1 else Composite(members)


@dataclass(frozen=True)
class ConventionOptions:
    """Convention of NIfTI fields and affine matrices in text files, and the images that the convention refers to."""

    name: str | None = None
    fixed: Path | None = None
    moving: Path | None = None
    fsl_fixed: Path | None = None
    fsl_moving: Path | None = None

    def read(self) -> FieldConvention | None:
        """Return the convention with the grids of its images, or None without `--transform-format`.

        Raises `UsageError` for options that contradict each other.
        """
        import nephi

        name, fixed, moving = self.name, self.fixed, self.moving
        if self.fsl_fixed or self.fsl_moving:
            if name not in (None, "fsl") or (self.fsl_fixed and fixed) or (self.fsl_moving and moving):
                raise nephi.UsageError(
                    "--fsl-fixed, --fsl-moving: short for --transform-format fsl with --transform-fixed and "
                    "--transform-moving; use either the one or the other"
                )
            name, fixed, moving = "fsl", self.fsl_fixed or fixed, self.fsl_moving or moving
        if name is None:
            if fixed or moving:
                raise nephi.UsageError("--transform-fixed, --transform-moving: require --transform-format")
            return None
        grids = [nephi.io.read_grid(path) if path else None for path in (fixed, moving)]
        return nephi.io.FieldConvention(name, *grids)


def convention_options(command: Command) -> Command:
    """Add `--transform-format` and the images it may need, passed to the command as `convention`."""

    @functools.wraps(command)
    def wrapper(
        *arguments: Any,
        transform_format: str | None,
        transform_fixed: Path | None,
        transform_moving: Path | None,
        fsl_fixed: Path | None,
        fsl_moving: Path | None,
        **options: Any,
    ) -> Any:
        convention = ConventionOptions(transform_format, transform_fixed, transform_moving, fsl_fixed, fsl_moving)
        return command(*arguments, convention=convention, **options)

    options = (
        click.option(
            "--transform-format",
            type=click.Choice(["itk", "slicer", "learn2reg", "fsl", "spm", "niftyreg", "greedy"]),
            help="Convention of a NIfTI field, if its header does not state it: displacements in LPS mm (itk, greedy), "
            "RAS mm (slicer), voxels (learn2reg) or scaled voxels (fsl), positions in RAS mm (spm), or according to "
            "NiftyReg's header (niftyreg). Also the tool that wrote an affine matrix as text: fsl (FLIRT), greedy "
            "(or c3d) or niftyreg.",
        ),
        click.option(
            "--transform-fixed", type=FILE, help="Image on whose grid the field lies, if the field's header is wrong."
        ),
        click.option(
            "--transform-moving", type=FILE, help="Moving image of an fsl field, if its grid is not that of the field."
        ),
        click.option(
            "--fsl-fixed", type=FILE, help="Fixed image of an FSL transform (-ref of FLIRT); implies the format fsl."
        ),
        click.option(
            "--fsl-moving", type=FILE, help="Moving image of an FSL transform (-in of FLIRT); implies the format fsl."
        ),
    )
    for option in reversed(options):
        wrapper = option(wrapper)
    return wrapper
