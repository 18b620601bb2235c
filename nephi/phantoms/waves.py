"""Smooth random functions with closed-form derivatives: sums of plane waves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class PlaneWaves:
    """C functions of a point, `f_c(x) = sum_w sines[w, c] sin(k_w . x) + cosines[w, c] cos(k_w . x)`.

    `vectors` holds the W wave vectors k `(W, D)` in rad/mm; `sines` and `cosines` are `(W, C)`. The functions share
    waves, because evaluating sines and cosines dominates the cost, but have independent coefficients.
    """

    vectors: Tensor
    sines: Tensor
    cosines: Tensor

    @classmethod
    def random(
        cls, count: int, channels: int, dimension: int, wavelengths: tuple[float, float], generator: torch.Generator
    ) -> PlaneWaves:
        """Draw `count` waves with random directions and wavelengths in a range (mm); each function has rms 1."""
        normal = torch.randn(count, dimension, generator=generator, dtype=torch.float64)
        directions = normal / normal.norm(dim=1, keepdim=True)
        short, long = wavelengths
        # Evenly spaced: with few waves, random wavelengths would sometimes leave a scale out.
        lengths = short + (long - short) * (torch.arange(count, dtype=torch.float64) + 0.5) / count
        coefficients = torch.randn(2, count, channels, generator=generator, dtype=torch.float64)
        coefficients *= lengths[:, None]  # otherwise short waves dominate the derivatives
        coefficients /= ((coefficients**2).sum(dim=(0, 1)) / 2).sqrt()
        return cls(directions * (2 * math.pi / lengths)[:, None], coefficients[0], coefficients[1])

    def transversal(self) -> PlaneWaves:
        """Return the same waves without the components along their own directions: a field without divergence (C = D).

        Its Jacobian determinants stay positive up to amplitudes at which waves along their directions fold.
        """
        directions = self.vectors / self.vectors.norm(dim=1, keepdim=True)
        sines, cosines = (
            part - directions * (directions * part).sum(dim=1, keepdim=True) for part in (self.sines, self.cosines)
        )
        return PlaneWaves(self.vectors, sines, cosines)

    def __call__(self, points: Tensor) -> Tensor:
        """Return the C functions at points `(..., D)`, shape `(..., C)`."""
        phases = points @ self.vectors.T.to(points)
        return phases.sin() @ self.sines.to(points) + phases.cos() @ self.cosines.to(points)

    def value_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the functions at points `(..., D)` and their gradients `(..., C, D)`, per mm."""
        phases = points @ self.vectors.T.to(points)
        sine, cosine = phases.sin(), phases.cos()
        values = sine @ self.sines.to(points) + cosine @ self.cosines.to(points)
        slopes = cosine @ self._slopes(self.sines, points) - sine @ self._slopes(self.cosines, points)
        return values, slopes.reshape(*values.shape, points.shape[-1])

    def _slopes(self, coefficients: Tensor, points: Tensor) -> Tensor:
        return (coefficients[:, :, None] * self.vectors[:, None, :]).flatten(1).to(points)
