"""Transforms between two predictions."""

from dataclasses import replace

import pytest
import torch

from nephi.errors import UsageError
from nephi.inference import Refinement, blend, predict
from nephi.metrics import regularity

from ..models.predictions import model, pair


@pytest.mark.parametrize("name", ["dense", "coded", "steps"])
def test_between_two_predictions(name: str) -> None:
    stored, (fixed, moving) = model(name, 2), pair(2)
    one, other = (predict(*images, model=stored, device="cpu").stored for images in ((fixed, moving), (moving, fixed)))
    grid = one.steps[0].grid
    points = grid.voxel_centres().double()
    assert torch.equal(blend(one, other, 0.0).transform(points), one.transform(points))
    centres = [each.steps[0].grid.centre_world() for each in (one, other)]
    expected = other.transform(points - centres[0] + centres[1]) - centres[1] + centres[0]
    torch.testing.assert_close(blend(one, other, 1.0).transform(points), expected, rtol=0, atol=1e-3)
    half = blend(one, other, 0.5)
    assert regularity(half.transform, grid).folding_percent == 0
    torch.testing.assert_close(half.transform(half.inverse(points)), points, rtol=0, atol=1e-3)
    ends = [blend(one, other, fraction).transform(points) for fraction in (0.0, 0.5, 1.0)]
    assert not torch.allclose(ends[0], ends[1], atol=1e-3) and not torch.allclose(ends[1], ends[2], atol=1e-3)


def test_transforms_that_cannot_be_blended_are_refused() -> None:
    images = pair(2)
    plain = predict(*images, model=model("dense", 2), device="cpu").stored
    for name, said in (
        ("steps", "with different steps"),
        ("unet", "steps of fields and displacement"),
        ("coded", "of different shapes"),
    ):
        other = predict(*images, model=model(name, 2), device="cpu").stored
        with pytest.raises(UsageError, match=said):
            blend(plain, other, 0.5)
    with pytest.raises(UsageError, match="fraction: expected 0 to 1, got -1"):
        blend(plain, plain, -1)
    with pytest.raises(UsageError, match="with different steps"):
        blend(replace(plain, steps=()), replace(plain, steps=()), 0.5)
    refined = predict(*images, model=model("dense", 2), refinement=Refinement(5), device="cpu").stored
    with pytest.raises(UsageError, match="different networks"):
        blend(plain, refined, 0.5)
