"""Codes of several pairs at once: the same as one field after the other."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nephi.fields import FieldPair, FieldSettings, NeuralField
from nephi.geometry import Grid

PAIRS = 3


@pytest.fixture(params=[(3, 2), (3, 0), (0, 2)], ids=["both", "global", "local"])
def field(
    request: pytest.FixtureRequest,
    small_settings: Callable[..., FieldSettings],
    trained_pair: Callable[[FieldSettings, Grid], FieldPair],
) -> NeuralField:
    grid = Grid.from_spacing((9, 8, 7), (1.5, 2.0, 2.5), (-4.0, 3.0, 1.0))
    everywhere, local = request.param
    settings = small_settings(
        encoding="fourier", decoder="gated-sine", global_codes=everywhere, local_codes=local, amplitude=2.0
    )
    return trained_pair(settings, grid).forward_field.double()


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def values_of(field: NeuralField) -> tuple[Tensor, Tensor | None]:
    codes = field.codes
    local = None if codes.local is None else drawn(PAIRS, *codes.local.table.shape, seed=2)
    return drawn(PAIRS, len(codes.everywhere), seed=1), local


def points() -> Tensor:
    """Some lie outside the field's box."""
    return 5 * drawn(PAIRS, 11, 3, seed=3) + torch.tensor([2.0, 10.0, 9.0])


def test_as_one_pair_after_the_other(field: NeuralField) -> None:
    everywhere, local = values_of(field)
    batch = field.of_codes(field.codes.with_values(everywhere, local))
    value, jacobian = batch.value_and_jacobian(points())
    torch.testing.assert_close(batch(points()), value)
    for k in range(PAIRS):
        with torch.no_grad():
            field.codes.everywhere.copy_(everywhere[k])
            if local is not None:
                field.codes.local.table.copy_(local[k])
        one, its_jacobian = field.value_and_jacobian(points()[k])
        torch.testing.assert_close(value[k], one)
        torch.testing.assert_close(jacobian[k], its_jacobian)


def test_gradients_reach_codes_points_and_network(field: NeuralField) -> None:
    everywhere, local = values_of(field)
    given = [
        tensor.requires_grad_() for tensor in (everywhere, local, points()) if tensor is not None and tensor.numel()
    ]

    def together(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        left = list(tensors)
        one = left.pop(0) if everywhere.numel() else everywhere
        other = left.pop(0) if local is not None else None
        return field.of_codes(field.codes.with_values(one, other)).value_and_jacobian(left.pop(0))

    assert torch.autograd.gradcheck(together, given)
    torch.stack([part.sum() for part in together(*given)]).sum().backward()
    assert field.decoder.last.weight.grad is not None


def test_magnitude_is_the_mean_over_every_code(field: NeuralField) -> None:
    everywhere, local = values_of(field)
    numbers = torch.cat([everywhere.reshape(-1), *([] if local is None else [local.reshape(-1)])])
    codes = field.codes.with_values(everywhere, local)
    torch.testing.assert_close(codes.magnitude(), numbers.abs().mean())
    assert len(codes) == PAIRS
