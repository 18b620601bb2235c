"""A model that is inverse consistent by construction: its prediction, file and refinement."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nephi.fields import read_nephi
from nephi.inference import Refinement, predict
from nephi.models import (
    AffineNetworkSettings,
    ConstrICONSettings,
    InputSettings,
    StoredModel,
    UNetSettings,
    build_model,
    input_grid,
    to_model_input,
)
from nephi.settings import TrainingObjectiveSettings

from ..models.predictions import pair

SETTINGS = ConstrICONSettings(
    ("affine", "flow", "flow"), (2, 2, 1), UNetSettings((4, 8, 8), finest=1), AffineNetworkSettings((4, 8), features=8)
)


def stored_model(dimension: int, **changes: object) -> StoredModel:
    """A model with random weights in its last layers."""
    settings = replace(InputSettings((24, 20, 18)[:dimension], (3.0, 4.0, 3.5)[:dimension]), **changes)
    generator = torch.Generator().manual_seed(5)
    untrained = build_model(SETTINGS, input_grid(settings), generator)
    with torch.no_grad():
        for name, parameter in untrained.named_parameters():
            if "last" in name:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
    return StoredModel(untrained, settings, TrainingObjectiveSettings(), {"seed": 5})


@pytest.mark.parametrize("extent", ["fixed", "image"])
def test_steps_and_their_inverses_are_stored_once(extent: str, dimension: int, tmp_path: Path) -> None:
    """`s1 s2 s3 s2 s1`, s1 affine: four steps and the affine map at the end; inverses are negative velocities."""
    stored, (fixed, moving) = stored_model(dimension, extent=extent), pair(dimension)
    result = predict(fixed, moving, model=stored, device="cpu")
    assert [step.kind for step in result.stored.steps] == ["affine", "velocity", "velocity", "velocity"]
    assert not result.stored.inverse_steps and result.stored.unrefined_inverse is not None
    inputs = [to_model_input(image, None, stored.input) for image in (fixed, moving)]
    points = fixed.grid.voxel_centres().double().reshape(-1, dimension)[::37]
    prediction = stored.model(*(each.values[None] for each in inputs))
    to_box = torch.linalg.inv(inputs[0].to_world)
    in_box = (points @ to_box[:-1, :-1].T + to_box[:-1, -1]).float()
    moved = prediction.forward(in_box[None])[0].double()
    expected = moved @ inputs[1].to_world[:-1, :-1].T + inputs[1].to_world[:-1, -1]
    found = result.transform(points)
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=3e-3)
    assert bool((moved - in_box).norm(dim=-1).mean() > 0.5)
    assert float((result.stored.unrefined_inverse(found) - points).norm(dim=-1).mean()) < 1e-3
    assert float((result.inverse(found) - points).norm(dim=-1).max()) < 2e-3
    result.save(tmp_path)
    back = read_nephi(tmp_path / "transform.nephi")
    assert torch.equal(back.transform(points), found)
    assert torch.equal(back.inverse(points), result.inverse(points))


def test_a_prediction_is_refined() -> None:
    fixed, moving = pair(2)
    result = predict(fixed, moving, model=stored_model(2), refinement=Refinement(40), device="cpu")
    first, last = (sum(row["similarity"] for row in rows) for rows in (result.history[:8], result.history[-8:]))
    assert last < 0.95 * first
