"""Breathing of a wanted size: the largest displacement and the strongest compression inside the lungs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import determinant, identity_like
from nephi.phantoms.motion import Breathing

BISECTIONS = 12


@torch.no_grad()
def calibrated(
    shape: Breathing,
    motion: float,
    local: float,
    compression: float,
    inside: Callable[[Tensor], Tensor],
    probes: Tensor,
) -> Breathing:
    """Return `shape` with amplitudes such that the lungs move by `motion` mm at most.

    The local waves move them by `local` mm at most, or less where the smallest determinant of the Jacobian in the
    lungs would fall below `compression`: then it is brought to that by bisection. `inside` tells which moving points
    `(N, 3)` are lung; `probes` `(N, 3)`, world mm, sample the chest densely enough for the shortest wave.

    Raises `UsageError` when `motion` is so large that it alone compresses the lungs more, or folds the chest.
    """
    lungs = _lung_probes(shape, motion, inside, probes)
    parts = _Parts.of(shape, lungs)
    local = local / float(parts.wave.norm(dim=-1).max())
    if parts.compression(motion, 0.0) < compression:
        raise UsageError(
            f"motion of {motion:g} mm compresses the lungs to {parts.compression(motion, 0.0):.2f} of their volume "
            f"somewhere, less than {compression:g}: choose a smaller motion"
        )
    if parts.compression(motion, local) < compression:
        low, high = 0.0, local
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if parts.compression(motion, middle) >= compression else (low, middle)
        local = low
    amplitude = parts.amplitude(motion, local)
    result = replace(shape, amplitude=amplitude, local=replace(shape.local, amplitude=local))
    smallest = min(float(determinant(result.value_and_jacobian(some)[1]).min()) for some in probes.split(100_000))
    if smallest <= 0:
        raise UsageError(f"motion of {motion:g} mm folds the chest (determinant {smallest:.2f}): choose a smaller one")
    return result


def _lung_probes(shape: Breathing, motion: float, inside: Callable[[Tensor], Tensor], probes: Tensor) -> Tensor:
    """Return the probes that the breathing alone, scaled to `motion`, takes into the moving lungs."""
    unit = replace(shape, amplitude=1.0, local=replace(shape.local, amplitude=0.0))(probes) - probes
    amplitude = motion
    for _ in range(3):  # the fixed lungs depend on the amplitude, the amplitude on the displacement in them
        lungs = inside(probes + amplitude * unit)
        amplitude = motion / float(unit[lungs].norm(dim=-1).max())
    return probes[inside(probes + amplitude * unit)]


@dataclass(frozen=True, eq=False)
class _Parts:
    """Displacements `(N, 3)` and their gradients at lung points, of breathing and of local waves of amplitude 1."""

    breath: Tensor
    breath_gradient: Tensor
    wave: Tensor
    wave_gradient: Tensor

    @classmethod
    def of(cls, shape: Breathing, points: Tensor) -> _Parts:
        breath, breath_jacobian = replace(
            shape, amplitude=1.0, local=replace(shape.local, amplitude=0.0)
        ).value_and_jacobian(points)
        wave, wave_jacobian = replace(shape.local, amplitude=1.0).value_and_jacobian(points)
        eye = identity_like(points)
        return cls(breath - points, breath_jacobian - eye, wave - points, wave_jacobian - eye)

    def amplitude(self, motion: float, local: float) -> float:
        """Return the amplitude of breathing with which the largest displacement is `motion`."""
        amplitude = motion / float(self.breath.norm(dim=-1).max())
        for _ in range(4):
            largest = float((amplitude * self.breath + local * self.wave).norm(dim=-1).max())
            amplitude *= motion / largest
        return amplitude

    def compression(self, motion: float, local: float) -> float:
        """Return the smallest determinant of the Jacobian at the lung points."""
        gradient = self.amplitude(motion, local) * self.breath_gradient + local * self.wave_gradient
        return float(determinant(gradient + identity_like(gradient)).min())
