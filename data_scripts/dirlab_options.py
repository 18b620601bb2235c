"""The options of both DIR-Lab commands, and their common run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import nephi

from .dirlab import HU_OFFSET, Choices, Collection, prepare, with_geometries
from .layout import DatasetFolder
from .options import FILE, Command, masks_option, numbers, output_options, speaker


def dirlab_options(command: Command) -> Command:
    """Add RAW and every option but `--fixed`, whose default the collections do not share."""
    options = (
        click.argument("raw", type=FILE),
        output_options,
        click.option("--cases", default="1-10", show_default=True, help="Which ones, such as 1,3-5."),
        click.option("--train", default="", help="Cases to train on; all others are for testing.  [default: none]"),
        click.option("--val", default="", help="Cases to validate with.  [default: none]"),
        masks_option,
        click.option(
            "--first-slice",
            type=click.Choice(["superior", "inferior"]),
            default="superior",
            show_default=True,
            help="Where the first slice of a volume is; the files do not tell.",
        ),
        click.option(
            "--hu-offset",
            type=click.IntRange(-32768, 32767),
            default=HU_OFFSET,
            show_default=True,
            help="What to take off the stored values for Hounsfield units.",
        ),
        click.option(
            "--geometry", type=FILE, help="TOML with other sizes and spacings: [9], shape, spacing (x, y, z)."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def run(collection: Collection, command: str, fixed: str, given: dict[str, Any]) -> Path:
    """Write the data set that the options ask for."""
    collection = with_geometries(collection, given["geometry"])
    cases = numbers(given["cases"], "--cases")
    unknown = [n for n in cases if n not in collection.cases]
    if unknown or not cases:
        known = ", ".join(map(str, collection.cases))
        raise nephi.UsageError(f"--cases: expected some of {known}, found {given['cases']!r}")
    chosen = {name: numbers(given[name], f"--{name}") for name in ("train", "val")}
    for name, some in chosen.items():
        if not set(some) <= set(cases):
            raise nephi.UsageError(f"--{name}: expected some of --cases {given['cases']}, found {given[name]!r}")
    if both := set(chosen["train"]) & set(chosen["val"]):
        raise nephi.UsageError(f"--val: case {min(both)} is in --train {given['train']}, too; leave it in one of them")
    choices = Choices(
        cases=tuple(dict.fromkeys(cases)),
        fixed=("inhale", "exhale").index(fixed),
        train=tuple(dict.fromkeys(chosen["train"])),
        val=tuple(dict.fromkeys(chosen["val"])),
        masks=given["masks"],
        hu_offset=given["hu_offset"],
        first_slice=given["first_slice"],
    )
    # Which cases, and their splits, are not part of it: cases can be added, and the index is written anew each time.
    recipe = {
        "command": command,
        "fixed": fixed,
        "masks": choices.masks,
        "hu_offset": choices.hu_offset,
        "first_slice": choices.first_slice,
        "geometry": {str(n): [*g.shape, *g.spacing] for n, g in collection.cases.items()},
    }
    folder = DatasetFolder(given["output"], recipe, given["overwrite"], speaker(given["quiet"]))
    return prepare(given["raw"], folder, collection, choices)
