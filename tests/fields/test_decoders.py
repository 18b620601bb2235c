"""Decoders against the formulae written out for one point."""

import math

import pytest
import torch
from torch import Tensor

from nephi.fields.decoders import Dense, GatedSineDecoder, SiluDecoder, SirenDecoder

INPUTS, HIDDEN, OUTPUTS = 4, 5, 3
OMEGAS = (1.5, 7.0)
Vector = list[float]


def affine(layer: Dense, x: Vector) -> Vector:
    rows = layer.weight.tolist()
    return [
        sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(rows, layer.bias.tolist(), strict=True)
    ]


def sine(layer: Dense, x: Vector, omega: float) -> Vector:
    return [math.sin(omega * v) for v in affine(layer, x)]


def silu(decoder: SiluDecoder, features: Vector, codes: Vector) -> Vector:
    h = features + codes
    for layer in decoder.hidden:
        h = [v / (1 + math.exp(-v)) for v in affine(layer, h)]
    return affine(decoder.last, h)


def siren(decoder: SirenDecoder, features: Vector, codes: Vector) -> Vector:
    h = features + codes
    for i, layer in enumerate(decoder.layers):
        h = sine(layer, h, OMEGAS[min(i, 1)])
    return affine(decoder.last, h)


def gated(decoder: GatedSineDecoder, features: Vector, codes: Vector) -> Vector:
    """Tian et al.: `h_i = sin(W_i h_(i-1)) g_i`, `g_i = sin(V_i (g_(i-1) + g_1))`, skip from the third layer on."""
    h, gate, first = features, features + codes, None
    for i, (main, side) in enumerate(zip(decoder.main, decoder.gate, strict=True)):
        fed = gate if i < 2 else [a + b for a, b in zip(gate, first, strict=True)]
        gate = sine(side, fed, OMEGAS[min(i, 1)])
        first = gate if i == 0 else first
        h = [a * b for a, b in zip(sine(main, h, OMEGAS[min(i, 1)]), gate, strict=True)]
    return affine(decoder.last, h)


def build(kind: type, codes: int, layers: int, generator: torch.Generator) -> torch.nn.Module:
    omegas = () if kind is SiluDecoder else (OMEGAS,)
    return kind(INPUTS, codes, HIDDEN, layers, OUTPUTS, *omegas, generator).double()


every_decoder = pytest.mark.parametrize(
    ("kind", "formula"), [(SiluDecoder, silu), (SirenDecoder, siren), (GatedSineDecoder, gated)]
)


def random_jet(channels: int, generator: torch.Generator) -> Tensor:
    return torch.randn(4, 6, channels, generator=generator, dtype=torch.float64)


@every_decoder
@pytest.mark.parametrize("codes", [0, 2])
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_formula(kind, formula, codes, layers) -> None:
    generator = torch.Generator().manual_seed(0)
    decoder = build(kind, codes, layers, generator)
    for parameter in decoder.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    features, z = random_jet(INPUTS, generator), random_jet(codes, generator) if codes else None
    found = decoder(features, z)[0]
    zs = z[0].tolist() if codes else [[]] * 6
    expected = [formula(decoder, x, c) for x, c in zip(features[0].tolist(), zs, strict=True)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@every_decoder
def test_fresh_decoders_return_zero(kind, formula) -> None:
    generator = torch.Generator().manual_seed(0)
    decoder = build(kind, 2, 3, generator)
    assert (decoder(random_jet(INPUTS, generator), random_jet(2, generator)) == 0).all()
    assert all((p != 0).all() for name, p in decoder.named_parameters() if not name.startswith("last."))


def test_sine_layers_start_within_the_bounds_of_siren() -> None:
    """Sitzmann et al. 2020: 1 / n in the first layer, sqrt(6 / n) / omega in the others."""
    decoder = SirenDecoder(20, 0, 200, 2, 3, (30.0, 30.0), torch.Generator().manual_seed(0))
    for layer, bound in zip(decoder.layers, (1 / 20, math.sqrt(6 / 200) / 30), strict=True):
        assert 0.97 * bound < layer.weight.abs().max() <= bound
        assert float(layer.weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
