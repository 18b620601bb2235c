"""The preset for brain MRI on a real pair with labels, voxels of 1 mm."""

from pathlib import Path

import pytest

from nephi.io import read_image
from nephi.metrics import evaluate
from nephi.optimize import register
from nephi.results import Registration
from nephi.transforms import fitting_field

from ..off_grid import distance_in_simpleitk


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "brain_mri"


@pytest.fixture(scope="module")
def result(folder: Path) -> Registration:
    return register(folder / "fixed.nii.gz", folder / "moving.nii.gz", preset="brain-mri")


def test_labels_overlap_without_folds(result: Registration, folder: Path) -> None:
    fixed, moving = (read_image(folder / f"{side}_labels.nii.gz") for side in ("fixed", "moving"))
    measures = evaluate(result.transform, fixed_labels=fixed, moving_labels=moving, mask=fixed).table()
    assert measures["dice"]["mean"] > 0.66  # varies by 0.005 between seeds
    assert measures["regularity"]["folding_percent"] == 0


def test_fitting_field_keeps_the_tolerance(result: Registration, tmp_path: Path, folder: Path) -> None:
    grid = read_image(folder / "fixed.nii.gz").grid
    field = fitting_field(result.transform, grid, 0.05)
    assert field.deviation <= 0.05 and field.grid.size < 2 * grid.size
    assert distance_in_simpleitk(result.transform, field, grid, tmp_path / "warp.mha") < 0.06
