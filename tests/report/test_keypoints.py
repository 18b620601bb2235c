"""Keypoints of a registration by keypoints: read from its record, on the report page and in the viewer's table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nephi.report import write_report
from nephi.report.keypoints import recorded_keypoints
from nephi.report.viewer.study import read_study
from nephi.results import Registration

from .test_page import Page
from .viewers import save_with_images

TABLE: dict[str, Any] = {
    "fixed": [[10.0, 12.0], [30.0, 40.0], [50.0, 20.0]],
    "moving": [[11.0, 12.0], [30.0, 42.0], [50.0, 25.0]],
    "weights": [1.0, 0.5, 0.0],
}


@pytest.fixture
def registered(flat_affine: Registration) -> Registration:
    about = {**flat_affine.stored.about, "keypoints": TABLE, "asymmetry_mm": {"rigid": 1.5e-6, "affine": 2.5}}
    return replace(flat_affine, stored=replace(flat_affine.stored, about=about))


def test_discs_show_weight_and_distance(registered: Registration, tmp_path: Path) -> None:
    registered.save(tmp_path)
    parsed = Page(write_report(registered, tmp_path))
    radii = [float(attributes["r"] or "nan") for attributes in parsed.all("circle")]
    assert radii == [4.0, 2.8, 1.6]
    fixed, moving = (torch.tensor(TABLE[side], dtype=torch.float64) for side in ("fixed", "moving"))
    distances = (registered.transform(fixed) - moving).norm(dim=-1)
    mean = float((distances[0] + 0.5 * distances[1]) / 1.5)
    assert f"3 keypoints, matched to {mean:.2f} mm on average" in parsed.text
    assert f"weight 0.5, {distances[1]:.2f} mm" in parsed.text


def test_the_asymmetry_of_each_alignment_is_listed(registered: Registration, tmp_path: Path) -> None:
    registered.save(tmp_path)
    page = write_report(registered, tmp_path).read_text(encoding="utf-8")
    assert "<td>rigid</td><td>1.5e-06</td>" in page and "<td>affine</td><td>2.5</td>" in page


def test_the_viewer_lists_keypoints_unless_there_are_landmarks(registered: Registration, tmp_path: Path) -> None:
    folder = save_with_images(registered, tmp_path)
    images = (folder / "fixed.nii.gz", folder / "moving.nii.gz")
    study = read_study(folder / "result", *images, None)
    rows = study.landmark_table()
    assert study.points_name == "keypoints" and [row["size"] for row in rows] == pytest.approx([1.0, 0.7, 0.4])
    assert rows[1]["fixed"] == [30.0, 40.0, 0.0] and rows[1]["moving"] == [30.0, 42.0, 0.0]
    landmarks = recorded_keypoints({"keypoints": TABLE}, 2)
    assert landmarks is not None
    study = read_study(folder / "result", *images, landmarks.pairs)
    assert study.points_name == "landmarks" and {row["size"] for row in study.landmark_table()} == {1.0}


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": [1.0, 0.5]},
        {"weights": []},
        {"fixed": [[1.0], [2.0], [3.0]]},
        {"fixed": "none"},
        {"moving": [[1.0, 2.0], [3.0, 4.0], [float("nan"), 1.0]]},
        {"moving": [[1.0, 2.0], [3.0], [1.0, 1.0]]},
    ],
)
def test_damaged_records_are_ignored(changes: dict[str, Any]) -> None:
    assert recorded_keypoints({"keypoints": {**TABLE, **changes}}, 2) is None
    assert recorded_keypoints({"keypoints": TABLE}, 3) is None
    assert recorded_keypoints({"keypoints": []}, 2) is None and recorded_keypoints({}, 2) is None
