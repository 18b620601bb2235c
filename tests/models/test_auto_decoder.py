"""The auto-decoder: trained latent values for each pair instead of an encoder."""

from dataclasses import replace

import pytest
import torch

from nephi.errors import UsageError
from nephi.fields import FieldSettings
from nephi.geometry import Grid
from nephi.models import AutoDecoder, AutoDecoderSettings, build_model
from nephi.objective import PairBatch, training_terms
from nephi.settings import TrainingObjectiveSettings


def generator(seed: int = 2) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def settings(field_settings: FieldSettings) -> AutoDecoderSettings:
    field = replace(field_settings, encoding="dense", spacings=(20.0, 9.0))
    return AutoDecoderSettings((2, 1), pairs=3, field=field)


def trained(model: AutoDecoder, images: tuple[torch.Tensor, torch.Tensor], steps: int) -> list[float]:
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 2e-2)
    batch = PairBatch(*images, pair_ids=torch.arange(len(images[0])))
    generators, losses = [generator(k) for k in range(3)], []
    for _ in range(steps):
        maps = model(batch.fixed, batch.moving, batch.pair_ids)
        objective = TrainingObjectiveSettings(points=100, background_points=10, codes=0.0)
        terms = training_terms(maps, batch, model.grid, objective, generators)
        loss = torch.stack(list(terms.values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(terms["similarity"].item())
    return losses


def test_each_pair_has_its_own_values(settings: AutoDecoderSettings, grid: Grid) -> None:
    """Blobs moved in different directions: each pair gets its own motion, by its number."""
    points, middle = grid.voxel_centres().float(), grid.centre_world().float()
    size = float(grid.spacing.mean() * min(grid.shape))
    shifts = [torch.zeros(grid.dimension) for _ in range(3)]
    shifts[1][0], shifts[2][1] = 0.15 * size, -0.15 * size
    moving = torch.stack([torch.exp(-(((points - middle - s) / (0.25 * size)) ** 2).sum(dim=-1)) for s in shifts])[
        :, None
    ]
    fixed = moving[:1].expand_as(moving)
    model = AutoDecoder(settings, grid, generator())
    losses = trained(model, (fixed, moving), 60)
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    displacement = model(fixed, moving, torch.tensor([2, 1, 0])).forward(middle.expand(3, 1, -1)).detach() - middle
    assert float(displacement[0, 0, 1]) < -0.05 * size and float(displacement[1, 0, 0]) > 0.05 * size


def test_an_unknown_pair_gets_the_mean(
    settings: AutoDecoderSettings, grid: Grid, images: tuple[torch.Tensor, ...]
) -> None:
    model = AutoDecoder(settings, grid, generator())
    trained(model, images, 3)
    points = grid.voxel_centres().float().reshape(1, -1, grid.dimension)[:, ::9].expand(3, -1, -1)
    trained_pairs = model(*images, torch.arange(3)).forward(points)
    other_pairs = model(*images).forward(points)
    # The rows of one product may round in different ways: some 2^-24 of 60 mm each.
    torch.testing.assert_close(other_pairs[0], other_pairs[1], rtol=0, atol=1e-4)
    assert not torch.allclose(trained_pairs[0], trained_pairs[1])
    for table in (step.encoder for step in model.network.steps):
        assert torch.equal(table(*images).global_codes[0], table.global_codes.mean(dim=0))


def test_only_the_pairs_of_a_batch_get_gradients(
    settings: AutoDecoderSettings, grid: Grid, images: tuple[torch.Tensor, ...]
) -> None:
    model = AutoDecoder(settings, grid, generator())
    trained(model, images, 2)
    model.zero_grad()
    batch = PairBatch(*(image[:1] for image in images), pair_ids=torch.tensor([1]))
    maps = model(batch.fixed, batch.moving, batch.pair_ids)
    objective = TrainingObjectiveSettings(points=100, background_points=10)
    terms = training_terms(maps, batch, model.grid, objective, [generator()])
    torch.stack(list(terms.values())).sum().backward()
    for parameter in model.network.steps[0].encoder.parameters():
        assert parameter.grad is not None and bool((parameter.grad[[0, 2]] == 0).all())
        assert parameter[0].numel() == 0 or bool((parameter.grad[1] != 0).any())


def test_the_spread_of_fresh_codes(grid: Grid, field_settings: FieldSettings) -> None:
    """NePhi's published code starts with 1 / sqrt(channels); a negative spread is none."""
    for spread in (0.01, 0.5):
        settings = AutoDecoderSettings((1,), 400, field_settings, code_spread=spread)
        model = build_model(settings, grid, torch.Generator().manual_seed(0))
        for name in model.pair_parameters():
            assert float(model.state_dict()[name].std()) == pytest.approx(spread, rel=0.1)
    with pytest.raises(UsageError, match=r"^model\.code_spread: expected 0 or more, got -1$"):
        AutoDecoderSettings(code_spread=-1)
