import json
from pathlib import Path

import pytest
import torch

from nephi.errors import DataError, DataWarning
from nephi.geometry import Grid, PointPairs
from nephi.images import Image
from nephi.metrics import dice, evaluate, field_regularity, inverse_consistency_error, landmark_errors
from nephi.transforms import AffineTransform, DisplacementField

SHIFT = torch.tensor([1.0, 0.0, 0.0])
GRID = Grid.from_spacing((6, 5, 4), (1.0, 1.0, 1.0))
PHI = AffineTransform.translation(SHIFT)


@pytest.fixture
def labels() -> tuple[Image, Image]:
    fixed = torch.zeros(GRID.shape, dtype=torch.uint8)
    fixed[1:3, 1:4, 1:3], fixed[4:, 4:, :] = 1, 2
    moving = fixed.roll(1, dims=0)
    return Image(fixed, GRID), Image(moving, GRID)


@pytest.fixture
def landmarks() -> PointPairs:
    fixed = torch.tensor([[1.0, 2.0, 1.0], [2.5, 2.0, 1.0]])
    return PointPairs.from_coordinates(fixed, fixed + 2 * SHIFT)


def test_without_inputs_nothing_is_measured() -> None:
    assert evaluate(PHI).table() == {}


def test_every_measure_equals_its_function(labels, landmarks) -> None:
    mask = labels[0]
    back = AffineTransform.translation(-1.5 * SHIFT)
    fields = [DisplacementField((s * SHIFT).expand(*GRID.shape, 3), GRID) for s in (1.0, -1.25)]
    evaluation = evaluate(
        PHI,
        landmarks=landmarks,
        fixed_labels=labels[0],
        moving_labels=labels[1],
        mask=mask,
        inverse=back,
        exported=(fields[0], fields[1]),
    )
    table = evaluation.table()
    overlap = dice(*labels, PHI)
    assert overlap[1] == 1.0 and set(overlap) == {1, 2}
    before = dice(*labels, lambda x: x)
    assert table["dice"] == {
        "mean": sum(overlap.values()) / 2,
        "before": sum(before.values()) / 2,
        "labels": {"1": overlap[1], "2": overlap[2]},
        "labels_before": {"1": before[1], "2": before[2]},
    }
    assert table["surface_mm"]["labels"]["1"] == {"mean": 0.0, "p95": 0.0}
    assert table["surface_mm"]["before"]["labels"]["1"]["p95"] == 1.0
    assert table["surface_mm"]["mean"] == table["surface_mm"]["labels"]["2"]["mean"] / 2
    assert "label_names" not in table
    assert table["tre_mm"] == {**landmark_errors(PHI, landmarks).summary(), "each": [1.0, 1.0]}
    assert table["tre_mm"]["before"] == 2.0
    assert table["regularity"] == vars(field_regularity(PHI, GRID, mask)) and table["regularity"]["points"] == 20
    assert table["inverse_consistency_mm"] == pytest.approx(0.5)
    assert table["inverse_consistency_mm"] == inverse_consistency_error(PHI, back, GRID, mask)
    assert table["exported_inverse_consistency_mm"] == pytest.approx(0.25)
    assert json.loads(json.dumps(table, allow_nan=False)) == table


def test_regularity_is_evaluated_in_the_mask_else_on_the_labels_else_on_the_grid(labels) -> None:
    other = Grid.from_spacing((3, 3, 3), (1.0, 1.0, 1.0))
    assert evaluate(PHI, grid=other).regularity.points == 27
    assert evaluate(PHI, grid=other, fixed_labels=labels[0]).regularity.points == GRID.size
    assert evaluate(PHI, grid=other, fixed_labels=labels[0], mask=labels[0]).regularity.points == 20


def test_labels_of_one_image_alone_have_no_overlap(labels) -> None:
    assert evaluate(PHI, fixed_labels=labels[0]).dice is None
    assert evaluate(PHI, moving_labels=labels[1]).table() == {}


@pytest.mark.parametrize("name", ["landmarks", "fixed_labels", "moving_labels", "mask"])
def test_inputs_of_another_dimension_are_refused(name) -> None:
    flat = Image(torch.ones(3, 3, dtype=torch.uint8), Grid.from_spacing((3, 3), (1.0, 1.0)))
    pairs = PointPairs.from_coordinates(torch.zeros(1, 2), torch.zeros(1, 2))
    with pytest.raises(DataError, match=rf"{name.replace('_', ' ')}: expected 3-D like the transform, found 2-D"):
        evaluate(PHI, **{name: pairs if name == "landmarks" else flat})


def test_landmarks_alone_evaluate_nothing_on_a_grid(landmarks) -> None:
    """The grids of the images serve to check the landmarks only."""

    class Counting(AffineTransform):
        points = 0

        def __call__(self, points: torch.Tensor) -> torch.Tensor:
            self.points += points.shape[:-1].numel()
            return super().__call__(points)

        def value_and_jacobian(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            raise AssertionError("no Jacobian was requested")

    phi = Counting.translation(SHIFT)
    measures = evaluate(phi, landmarks=landmarks, fixed_grid=GRID, moving_grid=GRID, inverse=PHI)
    assert set(measures.table()) == {"tre_mm"} and isinstance(phi, Counting) and phi.points <= 3 * len(landmarks)
    far = PointPairs.from_coordinates(landmarks.fixed.coordinates + 100, landmarks.moving.coordinates)
    with pytest.raises(DataError, match="fixed points inside the fixed image"):
        evaluate(PHI, landmarks=far, fixed_grid=GRID)


def test_names_of_labels(labels, tmp_path: Path) -> None:
    """Names of labels that do not occur are left out; names of other labels only are a mistake."""
    maps = {"fixed_labels": labels[0], "moving_labels": labels[1]}
    assert evaluate(PHI, **maps, label_names={2: "liver", 7: "spleen"}).table()["label_names"] == {"2": "liver"}
    (tmp_path / "n.ctbl").write_text("2 liver 1 2 3 4\n", encoding="utf-8")
    assert evaluate(PHI, **maps, label_names=tmp_path / "n.ctbl").label_names == {2: "liver"}
    with pytest.warns(DataWarning, match=r"names of the labels 1, 2, found only those of 7, 9"):
        evaluate(PHI, **maps, label_names={9: "a", 7: "b"})


def test_a_label_that_leaves_the_image_has_no_surface(labels) -> None:
    """None in JSON, and left out of the mean; its Dice is 0."""
    away = AffineTransform.translation(torch.tensor([0.0, -3.0, 0.0]))
    table = evaluate(away, fixed_labels=labels[0], moving_labels=labels[1]).table()
    assert table["surface_mm"]["labels"]["1"] is not None
    assert table["surface_mm"]["labels"]["2"] is None and table["dice"]["labels"]["2"] == 0
    assert table["surface_mm"]["mean"] == table["surface_mm"]["labels"]["1"]["mean"]
    assert json.loads(json.dumps(table, allow_nan=False)) == table
