"""Models that follow shifts of either image, and models that do not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.models import (
    CARLSettings,
    DisplacementUNet,
    DisplacementUNetSettings,
    FeatureSettings,
    RegistrationModel,
    UNetSettings,
    build_model,
)
from nephi.training import equivariance_errors
from tests.models.translation import TranslationModel, TranslationSettings


def box(dimension: int) -> Grid:
    return Grid.from_spacing((32, 36, 30)[:dimension], (1.0, 2.0, 1.5)[:dimension], (-20.0, 5.0, 0.0)[:dimension])


def blobs(grid: Grid, seed: int) -> Tensor:
    """Noise in the middle of an empty background, so that shifts by an eighth of the edge keep it."""
    images = torch.zeros(2, 1, *grid.shape, dtype=torch.float64)
    inner = (slice(None), slice(None), *[slice(10, n - 10) for n in grid.shape])
    images[inner] = torch.rand(images[inner].shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return images


def errors_of(model: RegistrationModel[Any], grid: Grid, **changes: float) -> tuple[float, float]:
    generator = torch.Generator().manual_seed(9)
    images = [(model.outside - blobs(grid, seed)).abs() for seed in (1, 2)]
    errors = equivariance_errors(model.double(), *images, generator, points=200, **changes)
    return errors["equivariance_uu_mm"], errors["equivariance_wu_mm"]


def test_attention_follows_shifts_of_either_image(dimension: int) -> None:
    """Of images on a dark background, and on a bright one."""
    settings = CARLSettings((4, 4), FeatureSettings(4, 2, 1, (1,)), UNetSettings((4, 8)))
    for outside in (0.0, 1.0):
        model = build_model(settings, box(dimension), torch.Generator().manual_seed(0), outside)
        assert max(errors_of(model, box(dimension))) < 1e-9


def test_a_unet_follows_shifts_of_both_images_only(dimension: int) -> None:
    """Exactly only for shifts by its coarsest voxels, away from the border: here less closely than each image alone."""
    grid, generator = box(dimension), torch.Generator().manual_seed(0)
    model = DisplacementUNet(DisplacementUNetSettings((4, 8)), grid, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
    both, each = errors_of(model, grid)
    assert each > 3.0 and both < 0.2 * each


def test_centres_of_mass_follow_shifts_but_not_turns(dimension: int) -> None:
    grid = box(dimension)
    model = TranslationModel(TranslationSettings(), grid, torch.Generator())
    with torch.no_grad():
        model.head.weight.copy_(torch.eye(dimension))
    assert max(errors_of(model, grid)) < 1e-4  # voxel centres are rounded to single precision
    both, each = errors_of(model, grid, rotation=40.0, shift=0.0)
    assert each > 1.0 and both < 0.5


def test_an_untrained_unet_is_the_identity_which_ignores_shifts(dimension: int) -> None:
    grid = box(dimension)
    model = DisplacementUNet(DisplacementUNetSettings((4, 8)), grid, torch.Generator().manual_seed(0)).train()
    both, each = errors_of(model, grid)
    assert both < 1e-9 and each > 3.0 and model.training
