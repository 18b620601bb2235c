"""The shift experiment of CARL in small: trained in the middle of the image, tested on shifted images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nephi.geometry import Grid, interpolate_batch
from nephi.models import (
    CARLSettings,
    DisplacementUNetSettings,
    FeatureSettings,
    ModelSettings,
    RegistrationModel,
    build_model,
)
from nephi.objective import PairBatch, training_terms
from nephi.phantoms import silhouettes
from nephi.settings import TrainingObjectiveSettings

SIZE, INNER, SHIFT, BATCH = 32, 20, 6, 4
GRID = Grid.from_spacing((SIZE, SIZE), (2.0, 2.0))
OBJECTIVE = TrainingObjectiveSettings(
    similarity="ncc", points=150, background_points=50, gradicon=0.0, diffusion=0.02, codes=0.0
)


def shapes(count: int, seed: int) -> Tensor:
    """Return images and labels `(count, 2, SIZE, SIZE)` of shapes that lie whole in the middle."""
    images, labels = silhouettes(10 * count, torch.Generator().manual_seed(seed), INNER)
    rim = labels.clone()
    rim[:, 1:-1, 1:-1] = False
    whole = ~rim.flatten(1).any(dim=1)
    both = torch.stack([images[whole], labels[whole].float()], dim=1)[:count]
    return nn.functional.pad(both, [(SIZE - INNER) // 2] * 4)


def train(settings: ModelSettings, steps: int) -> RegistrationModel[Any]:
    generator = torch.Generator().manual_seed(0)
    model, images = build_model(settings, GRID, generator), shapes(100, seed=1)[:, :1]
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(steps):
        fixed, moving = (images[torch.randint(len(images), (BATCH,), generator=generator)] for _ in range(2))
        points = [torch.Generator().manual_seed(BATCH * step + pair) for pair in range(BATCH)]
        terms = training_terms(model(fixed, moving), PairBatch(fixed, moving), GRID, OBJECTIVE, points)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
    return model


@torch.no_grad()
def dice(model: RegistrationModel[Any], shift: int) -> float:
    """Return the mean Dice of new pairs, whose moving images are shifted by `shift` pixels along each axis."""
    fixed, moving = shapes(30, seed=2), shapes(30, seed=3).roll((shift, -shift), (2, 3))
    points = GRID.voxel_centres().reshape(1, -1, 2).expand(len(fixed), -1, -1)
    displaced = model(fixed[:, :1], moving[:, :1]).forward(points)
    warped = interpolate_batch(moving[:, 1:], GRID, displaced).reshape(len(fixed), -1) > 0.5
    label = fixed[:, 1].flatten(1) > 0.5
    return float((2 * (warped & label).sum(dim=1) / (warped.sum(dim=1) + label.sum(dim=1))).mean())


def test_attention_keeps_its_dice_on_shifted_images_and_a_unet_does_not() -> None:
    """Shifts by 6 pixels are no multiples of the attention's stride of 4."""
    attention = train(CARLSettings((4,), FeatureSettings(8, 4, 2, (1, 2))), 60)
    unet = train(DisplacementUNetSettings((8, 16, 16)), 150)
    scores = {shift: (dice(attention, shift), dice(unet, shift)) for shift in (0, SHIFT)}
    assert min(scores[0]) > 0.74
    assert abs(scores[SHIFT][0] - scores[0][0]) < 0.02 and scores[SHIFT][1] < scores[0][1] - 0.3
