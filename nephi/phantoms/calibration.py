"""Scaling of a breathing motion to a given largest displacement and a given strongest compression of the lungs."""

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
    """Return `shape` with amplitudes for which the largest displacement in the lungs is `motion` mm.

    The largest displacement of the local waves in the lungs is `local` mm. Where the smallest Jacobian determinant in
    the lungs would fall below `compression`, the waves are reduced by bisection until it equals `compression`. `inside`
    returns which moving points `(N, 3)` lie in the lungs; `probes` `(N, 3)`, world mm, sample the chest densely enough
    for the shortest wave.

    Raises `UsageError` when `motion` without waves already compresses the lungs more, or folds the chest.
    """
    lungs = _lung_probes(shape, motion, inside, probes)
    parts = _Parts.of(shape, lungs)
    local = local / float(parts.wave.norm(dim=-1).max())
    if parts.compression(motion, 0.0) < compression:
        raise UsageError(
            f"motion: expected one that compresses the lungs to {compression:g} of their volume or more, got "
            f"{motion:g} mm, which compresses them to {parts.compression(motion, 0.0):.2f} in places"
        )
    if parts.compression(motion, local) < compression:
        low, high = 0.0, local
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            allowed = parts.compression(motion, middle) >= compression
            low, high = (middle, high) if allowed else (low, middle)
        local = low
    amplitude = parts.amplitude(motion, local)
    breathing = replace(shape, amplitude=amplitude, local=replace(shape.local, amplitude=local))
    batches = probes.split(100_000)
    smallest = min(float(determinant(breathing.value_and_jacobian(batch)[1]).min()) for batch in batches)
    if smallest <= 0:
        raise UsageError(
            f"motion: expected one that does not fold the chest, got {motion:g} mm (determinant {smallest:.2f})"
        )
    return breathing


def _lung_probes(shape: Breathing, motion: float, inside: Callable[[Tensor], Tensor], probes: Tensor) -> Tensor:
    """Return the probes that the breathing without waves, scaled to `motion`, maps into the moving lungs."""
    unit = replace(shape, amplitude=1.0, local=replace(shape.local, amplitude=0.0))(probes) - probes
    amplitude = motion
    for _ in range(3):  # fixed-point iteration: lungs and amplitude depend on each other
        lungs = inside(probes + amplitude * unit)
        amplitude = motion / float(unit[lungs].norm(dim=-1).max())
    return probes[inside(probes + amplitude * unit)]


@dataclass(frozen=True, eq=False)
class _Parts:
    """Displacements `(N, 3)` and their gradients at lung points, of breathing and waves of amplitude 1."""

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
        """Return the amplitude of the breathing for which the largest displacement is `motion`."""
        amplitude = motion / float(self.breath.norm(dim=-1).max())
        for _ in range(4):
            largest = float((amplitude * self.breath + local * self.wave).norm(dim=-1).max())
            amplitude *= motion / largest
        return amplitude

    def compression(self, motion: float, local: float) -> float:
        """Return the smallest determinant of the Jacobian at the lung points."""
        gradient = self.amplitude(motion, local) * self.breath_gradient + local * self.wave_gradient
        return float(determinant(gradient + identity_like(gradient)).min())
