"""Test that a registration and all its files are the same bytes with any number of threads."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nephi.fields import nephi_bytes
from nephi.geometry import Grid
from nephi.optimize import register
from nephi.phantoms import lung_phantom, shapes_phantom
from nephi.settings import Settings, preset

FIELDS = ("warp.nii.gz", "inverse_warp.nii.gz", "warped.nii.gz")


def few_steps(name: str) -> Settings:
    """Return a preset with few steps of the affine and the deformable fit."""
    settings = preset(name)
    levels = tuple(replace(level, steps=3) for level in settings.levels)
    return replace(settings, levels=levels, affine=replace(settings.affine, steps=3))


def independent_part(report: dict[str, Any]) -> dict[str, Any]:
    del report["usage"], report["settings"]["threads"]
    return report


@pytest.mark.parametrize("name", ["brain-mri", "generic"])
def test_files_are_the_same_bytes_with_any_number_of_threads(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Grid.slabs, "__defaults__", (9000,))  # voxels: several slabs
    monkeypatch.setattr("nephi.io.files.gzipped.BLOCK", 50_000)
    pair = lung_phantom(0, shape=(44, 36, 40)) if name == "brain-mri" else shapes_phantom(0, shape=(90, 70))
    results, reports = [], []
    for threads in (1, 2, 3, 5):
        settings = replace(few_steps(name), threads=threads)
        result = register(pair.fixed, pair.moving, settings=settings, device="cpu")
        folder = tmp_path / str(threads)
        result.save(folder)
        transform = nephi_bytes(replace(result.stored, settings={}))
        results.append([transform, *((folder / file).read_bytes() for file in FIELDS)])
        reports.append(independent_part(json.loads((folder / "report.json").read_text(encoding="utf-8"))))
        assert result.usage.threads == threads
    assert all(result == results[0] for result in results)
    assert all(report == reports[0] for report in reports)
