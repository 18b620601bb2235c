"""The scripts called in-process, and tiny data sets in the published formats."""

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
    """What a call came to."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]
Fails = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def fails(run: Run) -> Fails:
    """Call a script that must fail with one line; return the line."""

    def fails(*arguments: object, code: int = 3, says: str = "") -> str:
        outcome = run(*arguments)
        assert outcome.code == code, outcome
        assert outcome.err.count("\n") == 1, outcome.err
        assert re.search(says, outcome.err), outcome.err
        return outcome.err

    return fails


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def voxels_at(image: nephi.Image, points: nephi.Points) -> list[int]:
    """Values of the voxels that world points fall on; they have to fall on voxels."""
    places = image.grid.world_to_voxel_points(points.coordinates)
    assert float((places - places.round()).abs().max()) < 1e-6
    return [int(image.data[tuple(place)]) for place in places.round().long().tolist()]


def write_nifti(path: Path, data: Array, affine: Array | None = None) -> None:
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(data, np.diag([-1.5, 1.25, 2.0, 1.0]) if affine is None else affine), path)
