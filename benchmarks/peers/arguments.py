"""The command line shared by the drivers of all other tools."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

SIMILARITY_MI = "mi"


@dataclass(frozen=True)
class Job:
    """Arguments of a driver: input files, output field (and inverse field, if the tool has one), settings."""

    fixed: Path
    moving: Path
    fixed_mask: Path | None
    moving_mask: Path | None
    field: Path
    inverse: Path | None
    iterations: int | None
    similarity: str
    single: bool
    threads: int


def parsed(description: str | None) -> Job:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fixed", type=Path)
    parser.add_argument("moving", type=Path)
    parser.add_argument("fixed_mask", type=_path_or_none, metavar="FIXED_MASK|none")
    parser.add_argument("moving_mask", type=_path_or_none, metavar="MOVING_MASK|none")
    parser.add_argument("field", type=Path, metavar="OUT_FIELD", help="displacement field, LPS mm, on the fixed grid")
    parser.add_argument("--inverse", type=Path, help="field of the inverse, on the moving grid")
    parser.add_argument("--iterations", type=int, help="of the deformable stage, where the peer has one such number")
    parser.add_argument("--similarity", choices=["cc", SIMILARITY_MI], default="cc")
    parser.add_argument("--single", action="store_true", help="single precision, where the peer lets one choose")
    parser.add_argument("--threads", type=int, default=1)
    return Job(**vars(parser.parse_args()))


def _path_or_none(text: str) -> Path | None:
    return None if text == "none" else Path(text)
