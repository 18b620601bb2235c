"""Small networks from features (and latent codes) to a displacement, on jets.

Every decoder takes the jet of the position's features and the jet of the latent codes (or None), and returns a jet
`(1 + T, N, D)`. Last layers start at zero, so that an untrained field is the identity.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from nephi.fields import jets


class Dense(nn.Module):
    """Weights `(out, in)` and bias of one layer, drawn uniformly within `bound`, or zero for `bound = 0`."""

    def __init__(self, inputs: int, outputs: int, bound: float, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(_uniform((outputs, inputs), generator) * bound)
        bias_bound = bound and 1 / math.sqrt(inputs)
        self.bias = nn.Parameter(_uniform((outputs,), generator) * bias_bound)

    def forward(self, jet: Tensor) -> Tensor:
        """Return the jet of `W h + b`."""
        return jets.linear(jet, self.weight, self.bias)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw float32 numbers uniformly between -1 and 1."""
    return torch.empty(shape, dtype=torch.float32).uniform_(-1, 1, generator=generator)


class Decoder(nn.Module):
    """Interface: `forward(features, codes)` maps jets to the displacement's jet, in units of the field's amplitude."""

    def forward(self, features: Tensor, codes: Tensor | None) -> Tensor:
        """Return the jet `(1 + T, N, D)`."""
        raise TypeError(f"{type(self).__name__} does not implement forward")


class SiluDecoder(Decoder):
    """A plain perceptron with SiLU activations."""

    def __init__(
        self, inputs: int, codes: int, hidden: int, layers: int, outputs: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        widths = [inputs + codes] + [hidden] * layers
        pairs = itertools.pairwise(widths)
        self.hidden = nn.ModuleList(Dense(i, o, 1 / math.sqrt(i), generator) for i, o in pairs)
        self.last = Dense(widths[-1], outputs, 0.0, generator)

    def forward(self, features: Tensor, codes: Tensor | None) -> Tensor:
        """Return the displacement's jet."""
        h = _concatenate(features, codes)
        for layer in self.hidden:
            h = jets.silu(layer(h))
        out: Tensor = self.last(h)
        return out


class SirenDecoder(Decoder):
    """Sine network (Sitzmann et al. 2020): `sin(omega (W h + b))`, weights uniform within `sqrt(6 / n) / omega`.

    The first layer's weights are uniform within `1 / n`, as in the paper and in IDIR (Wolterink et al. 2022).
    """

    def __init__(
        self,
        inputs: int,
        codes: int,
        hidden: int,
        layers: int,
        outputs: int,
        omegas: tuple[float, float],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.layers = _sine_layers(inputs + codes, hidden, layers, omegas, generator)
        self.omegas = _per_layer(omegas, layers)
        self.last = Dense(hidden, outputs, 0.0, generator)

    def forward(self, features: Tensor, codes: Tensor | None) -> Tensor:
        """Return the displacement's jet."""
        h = _concatenate(features, codes)
        for layer, omega in zip(self.layers, self.omegas, strict=True):
            h = jets.sine(layer(h), omega)
        out: Tensor = self.last(h)
        return out


class GatedSineDecoder(Decoder):
    """NePhi's decoder (Tian et al., ECCV 2024): a sine network on the features, gated by a second one.

    Hidden layer i of the main network is multiplied by hidden layer i of a sine network fed with
    `[codes, features]`; the output of the gate's first layer is added to its deeper ones (skip). Without codes the
    gate's input are the features alone.
    """

    def __init__(
        self,
        inputs: int,
        codes: int,
        hidden: int,
        layers: int,
        outputs: int,
        omegas: tuple[float, float],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.omegas = _per_layer(omegas, layers)
        self.main = _sine_layers(inputs, hidden, layers, omegas, generator)
        self.gate = _sine_layers(inputs + codes, hidden, layers, omegas, generator)
        self.last = Dense(hidden, outputs, 0.0, generator)

    def forward(self, features: Tensor, codes: Tensor | None) -> Tensor:
        """Return the displacement's jet."""
        h, g, first = features, _concatenate(features, codes), None
        for main, gate, omega in zip(self.main, self.gate, self.omegas, strict=True):
            g = jets.sine(gate(g), omega)
            h = jets.product(jets.sine(main(h), omega), g)
            first = g if first is None else first
            g = g if g is first else g + first
        out: Tensor = self.last(h)
        return out


def _concatenate(features: Tensor, codes: Tensor | None) -> Tensor:
    return features if codes is None else torch.cat([features, codes], dim=-1)


def _per_layer(omegas: tuple[float, float], layers: int) -> list[float]:
    return [omegas[0]] + [omegas[1]] * (layers - 1)


def _sine_layers(
    inputs: int, hidden: int, layers: int, omegas: tuple[float, float], generator: torch.Generator
) -> nn.ModuleList:
    first = Dense(inputs, hidden, 1 / inputs, generator)
    bound = math.sqrt(6 / hidden) / omegas[1]
    return nn.ModuleList([first, *(Dense(hidden, hidden, bound, generator) for _ in range(layers - 1))])
