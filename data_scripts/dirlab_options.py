"""Options and run of both DIR-Lab commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import nephi

from .dirlab import HU_OFFSET, Collection, DirlabSettings, prepare, with_geometries
from .layout import DatasetFolder
from .options import FILE, Command, masks_option, output_options, parse_numbers, printer


def dirlab_options(command: Command) -> Command:
    """Add RAW and all options but `--fixed`, whose default differs between the collections."""
    decorators = (
        click.argument("raw", type=FILE),
        output_options,
        click.option("--cases", default="1-10", show_default=True, help="Cases to convert, such as 1,3-5."),
        click.option("--train", default="", help="Cases for training; the rest is for testing.  [default: none]"),
        click.option("--val", default="", help="Cases for validation.  [default: none]"),
        masks_option,
        click.option(
            "--first-slice",
            type=click.Choice(["superior", "inferior"]),
            default="superior",
            show_default=True,
            help="Position of the first slice of a volume, which the files do not contain.",
        ),
        click.option(
            "--hu-offset",
            type=click.IntRange(-32768, 32767),
            default=HU_OFFSET,
            show_default=True,
            help="Number to subtract from stored values to obtain Hounsfield units.",
        ),
        click.option(
            "--geometry", type=FILE, help="TOML file with other sizes and spacings: tables [9] with shape, spacing."
        ),
    )
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def run(collection: Collection, command: str, fixed: str, options: dict[str, Any]) -> Path:
    """Write the data set as the command's options specify; return the path of its index."""
    collection = with_geometries(collection, options["geometry"])
    cases = parse_numbers(options["cases"], "--cases")
    unknown = [n for n in cases if n not in collection.cases]
    if unknown or not cases:
        known = ", ".join(map(str, collection.cases))
        raise nephi.UsageError(f"--cases: expected some of {known}, found {options['cases']!r}")
    splits = {name: parse_numbers(options[name], f"--{name}") for name in ("train", "val")}
    for name, split in splits.items():
        if not set(split) <= set(cases):
            raise nephi.UsageError(f"--{name}: expected some of --cases {options['cases']}, found {options[name]!r}")
    if both := set(splits["train"]) & set(splits["val"]):
        raise nephi.UsageError(f"--val: expected cases that are not in --train {options['train']}, found {min(both)}")
    settings = DirlabSettings(
        cases=tuple(dict.fromkeys(cases)),
        fixed=("inhale", "exhale").index(fixed),
        train=tuple(dict.fromkeys(splits["train"])),
        val=tuple(dict.fromkeys(splits["val"])),
        masks=options["masks"],
        hu_offset=options["hu_offset"],
        first_slice=options["first_slice"],
    )
    # Without cases and splits: cases can be added later, and every run rewrites the index.
    recipe = {
        "command": command,
        "fixed": fixed,
        "masks": settings.masks,
        "hu_offset": settings.hu_offset,
        "first_slice": settings.first_slice,
        "geometry": {str(n): [*g.shape, *g.spacing] for n, g in collection.cases.items()},
    }
    folder = DatasetFolder(options["output"], recipe, options["overwrite"], printer(options["quiet"]))
    return prepare(options["raw"], folder, collection, settings)
