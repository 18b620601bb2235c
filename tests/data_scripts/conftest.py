"""Run the scripts in this process, and write tiny data sets in the published formats."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nephi
from data_scripts.main import main

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Outcome:
    """Exit code and output of a run."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]
Fails = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as exit_info:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Outcome(int(exit_info.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def fails(run: Run) -> Fails:
    """Run a script that must fail with a one-line message that matches `match`; return the line."""

    def fails(*arguments: object, code: int = 3, match: str = "") -> str:
        outcome = run(*arguments)
        assert outcome.code == code, outcome
        assert outcome.err.count("\n") == 1, outcome.err
        assert re.search(match, outcome.err), outcome.err
        return outcome.err

    return fails


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files below a folder, by relative path."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def voxels_at(image: nephi.Image, points: nephi.Points) -> list[int]:
    """Return the values of the voxels whose centres are the given world points."""
    voxels = image.grid.world_to_voxel_points(points.coordinates)
    assert float((voxels - voxels.round()).abs().max()) < 1e-6
    return [int(image.data[tuple(voxel)]) for voxel in voxels.round().long().tolist()]


def write_nifti(path: Path, data: Array, affine: Array | None = None) -> None:
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(data, np.diag([-1.5, 1.25, 2.0, 1.0]) if affine is None else affine), path)
