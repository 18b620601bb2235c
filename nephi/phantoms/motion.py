"""Deformations with closed-form Jacobians: breathing, and local waves."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from nephi.geometry import identity_like
from nephi.phantoms.waves import PlaneWaves
from nephi.transforms import Transform


@dataclass(frozen=True, eq=False)
class Window:
    """Smooth bump `w(x) = sigmoid((1 - |(x - centre) / radii|^2) / softness)`: 1 in an ellipsoid, 0 far outside.

    `centre` and `radii` are `(D,)` in mm; w is 1/2 on the ellipsoid. An infinite radius ignores its axis.
    """

    centre: Tensor
    radii: Tensor
    softness: float

    def __call__(self, points: Tensor) -> Tensor:
        """Return w `(...)` at points `(..., D)`."""
        scaled = (points - self.centre.to(points)) / self.radii.to(points)
        return torch.sigmoid((1 - scaled.square().sum(dim=-1)) / self.softness)

    def value_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return w `(...)` and its gradient `(..., D)` per mm."""
        value = self(points)
        inner = (points - self.centre.to(points)) / self.radii.to(points).square()
        return value, (value * (1 - value) * (-2 / self.softness)).unsqueeze(-1) * inner


@dataclass(frozen=True, eq=False)
class Ramp:
    """Smooth step along one axis: 0 before `start`, 1 after `stop` (mm), linear between, corners rounded by `rounding`.

    `start` may lie above `stop`: the step then rises in the negative direction of the axis.
    """

    axis: int
    start: float
    stop: float
    rounding: float

    def value_and_slope(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the step `(...)` at points `(..., D)` and its derivative along the axis, per mm."""
        sign = 1.0 if self.stop > self.start else -1.0
        length = abs(self.stop - self.start)
        from_start = sign * (points[..., self.axis] - self.start) / self.rounding
        from_stop = from_start - length / self.rounding
        value = (softplus(from_start) - softplus(from_stop)) * (self.rounding / length)
        slope = (torch.sigmoid(from_start) - torch.sigmoid(from_stop)) * (sign / length)
        return value, slope


@dataclass(frozen=True, eq=False, repr=False)
class WaveMotion(Transform):
    """`phi(x) = x + amplitude * window(x) * waves(x)`: waves of displacement inside a window.

    Maps fixed to moving points, world mm, in 2-D or 3-D. `waves` has as many channels as coordinates.
    """

    waves: PlaneWaves
    window: Window
    amplitude: float

    @property
    def dimension(self) -> int:
        """Number of coordinates D, 2 or 3."""
        return self.waves.vectors.shape[1]

    def __call__(self, points: Tensor) -> Tensor:
        """Return the moving points of fixed points `(..., D)`, mm."""
        if self.amplitude == 0:
            return points
        return points + self.amplitude * self.window(points).unsqueeze(-1) * self.waves(points)

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the moving points and the closed-form Jacobian `(..., D, D)`."""
        window, slope = self.window.value_and_gradient(points)
        waves, gradient = self.waves.value_and_gradient(points)
        jacobian = window[..., None, None] * gradient + waves.unsqueeze(-1) * slope.unsqueeze(-2)
        eye = identity_like(points)
        return points + self.amplitude * window.unsqueeze(-1) * waves, eye + self.amplitude * jacobian


@dataclass(frozen=True, eq=False, repr=False)
class Breathing(Transform):
    """Map of the chest from the fixed image (inspiration) to the moving image (expiration), world mm, RAS, 3-D.

    The chest is displaced upwards by `amplitude * window(x) * rise(x)`, least at the apex and most below the diaphragm,
    and its front backwards by `amplitude * depth * window(x) * rise(x) * front(x)`. The displacement of `local` is
    added: waves of 10 to 20 mm inside the lungs, too short for an affine map or a coarse spline.
    """

    amplitude: float
    depth: float
    window: Window
    rise: Ramp
    front: Ramp
    local: WaveMotion

    @property
    def dimension(self) -> int:
        """Always 3."""
        return 3

    def __call__(self, points: Tensor) -> Tensor:
        """Return the moving points of fixed points `(..., 3)`, mm."""
        rise = self.amplitude * self.window(points) * self.rise.value_and_slope(points)[0]
        backward = self.depth * rise * self.front.value_and_slope(points)[0]
        return self.local(points) + torch.stack([torch.zeros_like(rise), -backward, rise], dim=-1)

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the moving points and the closed-form Jacobian `(..., 3, 3)`."""
        window, window_slope = self.window.value_and_gradient(points)
        step, step_slope = self.rise.value_and_slope(points)
        front, front_slope = self.front.value_and_slope(points)
        rise = self.amplitude * window * step
        rise_slope = self.amplitude * step.unsqueeze(-1) * window_slope
        rise_slope[..., self.rise.axis] += self.amplitude * window * step_slope
        back_slope = self.depth * front.unsqueeze(-1) * rise_slope
        back_slope[..., self.front.axis] += self.depth * rise * front_slope
        value, jacobian = self.local.value_and_jacobian(points)
        value = value + torch.stack([torch.zeros_like(rise), -self.depth * rise * front, rise], dim=-1)
        return value, jacobian + torch.stack([torch.zeros_like(rise_slope), -back_slope, rise_slope], dim=-2)
