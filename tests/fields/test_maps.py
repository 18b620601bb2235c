"""Latent values of several pairs at once: the same as one field after the other."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nephi.fields import (
    FieldPair,
    FieldSettings,
    LatentBatch,
    field_maps,
    fields_with_latent,
    latent_grids,
    single_maps,
)
from nephi.geometry import Grid

PAIRS = 3
KINDS = {
    "both codes": {"encoding": "fourier", "decoder": "gated-sine", "global_codes": 3, "local_codes": 2},
    "global": {"encoding": "fourier", "decoder": "gated-sine", "global_codes": 3},
    "local": {"encoding": "coordinates", "local_codes": 2},
    "dense": {"encoding": "dense", "channels": 4},
    "dense and global": {"encoding": "dense", "global_codes": 3},
    "all": {"encoding": "dense", "decoder": "siren", "global_codes": 1, "local_codes": 2},
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def fields(
    request: pytest.FixtureRequest,
    small_settings: Callable[..., FieldSettings],
    trained_pair: Callable[[FieldSettings, Grid], FieldPair],
) -> FieldPair:
    grid = Grid.from_spacing((9, 8, 7), (1.5, 2.0, 2.5), (-4.0, 3.0, 1.0))
    return trained_pair(small_settings(**request.param, amplitude=2.0), grid)


def random_values(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def values_of(fields: FieldPair, dtype: torch.dtype = torch.float64) -> LatentBatch:
    codes = 0 if fields.codes is None else len(fields.codes.global_code)
    tables = [random_values(PAIRS, *g.table.shape, seed=2 + k).to(dtype) for k, g in enumerate(latent_grids(fields))]
    return LatentBatch(random_values(PAIRS, codes, seed=1).to(dtype), tables)


def points() -> Tensor:
    """Some lie outside the field's box."""
    return 5 * random_values(PAIRS, 11, 3, seed=3) + torch.tensor([2.0, 10.0, 9.0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_as_one_pair_after_the_other(fields: FieldPair, dtype: torch.dtype) -> None:
    """In single precision the kernel computes the fields that it supports."""
    fields = fields.to(dtype)
    latent = values_of(fields, dtype)
    maps = field_maps(fields, latent)
    for k in range(PAIRS):
        own = fields_with_latent(fields, latent.rows(slice(k, k + 1)))
        for batch, field in zip(maps[:2], (own.forward_field, own.inverse_field), strict=True):
            at = points().to(dtype)
            value, jacobian = batch.value_and_jacobian(at)
            torch.testing.assert_close(batch(at), value)
            one, its_jacobian = field.value_and_jacobian(at[k])
            torch.testing.assert_close(value[k], one)
            torch.testing.assert_close(jacobian[k], its_jacobian, rtol=1e-4, atol=1e-4)


def test_gradients_reach_latent_values_points_and_network(fields: FieldPair) -> None:
    fields = fields.double()
    latent = values_of(fields)
    where = points()[:, :4]

    def maps_at(global_codes: Tensor, points: Tensor, *tables: Tensor) -> tuple[Tensor, Tensor]:
        return field_maps(fields, LatentBatch(global_codes, tables))[0].value_and_jacobian(points)

    given = [tensor.requires_grad_() for tensor in (latent.global_codes, where, *latent.tables)]
    assert torch.autograd.gradcheck(maps_at, given, fast_mode=True)
    torch.stack([part.sum() for part in maps_at(*given)]).sum().backward()
    assert fields.forward_field.decoder.last.weight.grad is not None


def test_the_kernel_has_the_same_gradients(
    small_settings: Callable[..., FieldSettings], trained_pair: Callable[[FieldSettings, Grid], FieldPair]
) -> None:
    """Of tables, points and network, in a batch by the kernel and in one by plain operations."""
    grid = Grid.from_spacing((9, 8, 7), (1.5, 2.0, 2.5), (-4.0, 3.0, 1.0))
    found = []
    for dtype in (torch.float32, torch.float64):
        fields = trained_pair(small_settings(encoding="dense"), grid).to(dtype)
        latent = values_of(fields, dtype)
        at = points().to(dtype).requires_grad_()
        tables = [table.requires_grad_() for table in latent.tables]
        values, jacobians = field_maps(fields, latent)[0].value_and_jacobian(at)
        (values.sin().sum() + jacobians.cos().sum()).backward()
        found.append([at.grad, tables[0].grad, *(p.grad for p in fields.forward_field.decoder.parameters())])
    for ours, exact in zip(*found, strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-3, atol=1e-4 * float(exact.abs().max()))


def test_magnitude_is_the_mean_over_every_value(fields: FieldPair) -> None:
    latent = values_of(fields)
    numbers = torch.cat([latent.global_codes.reshape(-1), *(table.reshape(-1) for table in latent.tables)])
    torch.testing.assert_close(latent.magnitude(), numbers.abs().mean())
    assert len(latent) == PAIRS


def test_one_pair_is_an_independent_field(fields: FieldPair) -> None:
    latent = values_of(fields, torch.float32)
    maps = field_maps(fields, latent)
    for batch in maps[:2]:
        one = batch.one(1)
        at = points().float()
        torch.testing.assert_close(one(at[1]), batch(at)[1].detach(), rtol=1e-5, atol=1e-5)
        assert not any(parameter.requires_grad for parameter in one.parameters())
    assert all(parameter.requires_grad for parameter in maps.forward.field_pair(0).parameters())


def test_a_fit_is_the_case_of_one_pair(fields: FieldPair) -> None:
    latent = values_of(fields, torch.float32).rows(slice(0, 1))
    batch, single = field_maps(fields, latent), single_maps(fields_with_latent(fields, latent))
    for one, other in zip(batch[:2], single[:2], strict=True):
        at = points()[:1].float()
        torch.testing.assert_close(one.value_and_jacobian(at), other.value_and_jacobian(at), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(batch.penalties["codes"], single.penalties["codes"])


def test_the_penalties_of_latent_values() -> None:
    """The mean |z|, and NePhi's sum of mean lengths: of the global codes, and of the local ones at their nodes."""
    latent = LatentBatch(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), [torch.tensor([[[1.0], [3.0]], [[0.0], [2.0]]])])
    penalties = latent.penalties()
    assert {name: float(value) for name, value in penalties.items()} == {"codes": 13 / 8, "code_norms": 2.5 + 1.5}
    assert not LatentBatch(torch.zeros(2, 0), []).penalties()
