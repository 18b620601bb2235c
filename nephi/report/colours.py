"""Colour scales of volume change with folds, lengths of displacements, and errors of landmarks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nephi.metrics import is_folded

Stops = tuple[tuple[float, tuple[int, int, int]], ...]

CHANGE: Stops = (
    (0.0, (8, 48, 107)),
    (0.25, (66, 146, 198)),
    (0.5, (247, 247, 247)),
    (0.75, (241, 163, 64)),
    (1.0, (127, 59, 8)),
)
ERRORS: Stops = ((0.0, (94, 201, 178)), (0.5, (253, 204, 92)), (1.0, (240, 80, 60)))
LENGTHS: Stops = (
    (0.0, (68, 1, 84)),
    (0.25, (59, 82, 139)),
    (0.5, (33, 145, 140)),
    (0.75, (94, 201, 98)),
    (1.0, (253, 231, 37)),
)
FOLD = (255, 0, 255)
LEVELS = 33  # colours of volume change: more look the same, and a smooth ramp needs three times the bytes
OUTSIDE, FOLDED = 0, LEVELS + 1  # palette indices; those between are volume changes
LIMITS = (1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)


@dataclass(frozen=True)
class ChangeScale:
    """Logarithmic colour scale of Jacobian determinants from `1 / limit` over 1 (no change, white) to `limit`."""

    limit: float

    @classmethod
    def for_determinants(cls, determinants: NDArray[np.float32]) -> ChangeScale:
        """Return the smallest scale that covers 99.5 % of the determinants, not counting NaN and folds."""
        positive = determinants[determinants > 0]
        extreme = float(np.quantile(np.abs(np.log(positive)), 0.995)) if positive.size else 0.0
        return cls(next((limit for limit in LIMITS if math.log(limit) >= extreme), LIMITS[-1]))

    def indices(self, determinants: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the palette index of each determinant `(..., H, W)`; NaN is `OUTSIDE`.

        Folds (`det J <= 0`) and their neighbouring pixels are `FOLDED`: a single pixel is easily overlooked.
        """
        inside = ~np.isnan(determinants)
        folded = inside & is_folded(determinants)
        fraction = 0.5 + np.log(np.where(inside & ~folded, determinants, 1)) / (2 * math.log(self.limit))
        indices = np.where(inside, 1 + np.round(np.clip(fraction, 0, 1) * (LEVELS - 1)), OUTSIDE).astype(np.uint8)
        indices[dilate(folded)] = FOLDED
        return indices

    def palette(self) -> NDArray[np.uint8]:
        """Return the colour of each index, `(LEVELS + 2, 4)` RGBA; `OUTSIDE` is transparent."""
        colours = np.zeros((LEVELS + 2, 4), np.uint8)
        colours[1:FOLDED, :3] = self.ramp()
        colours[FOLDED, :3] = FOLD
        colours[1:, 3] = 255
        return colours

    def ramp(self) -> NDArray[np.uint8]:
        """Return the colours `(LEVELS, 3)` from `1 / limit` to `limit`."""
        return interpolate_colours(np.linspace(0, 1, LEVELS), CHANGE)


def dilate(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask `(..., H, W)` with the pixels that share an edge with it."""
    dilated = mask.copy()
    dilated[..., 1:, :] |= mask[..., :-1, :]
    dilated[..., :-1, :] |= mask[..., 1:, :]
    dilated[..., :, 1:] |= mask[..., :, :-1]
    dilated[..., :, :-1] |= mask[..., :, 1:]
    return dilated


def interpolate_colours(fractions: NDArray[np.float64], stops: Stops) -> NDArray[np.uint8]:
    """Return colours `(..., 3)` of fractions 0 to 1 between the stops of a scale."""
    positions = [position for position, _ in stops]
    channels = [np.interp(fractions, positions, [colour[i] for _, colour in stops]) for i in range(3)]
    return np.stack([np.round(channel).astype(np.uint8) for channel in channels], axis=-1)


def hexadecimal(colour: NDArray[np.uint8] | tuple[int, int, int]) -> str:
    """Return a colour as `#rrggbb`."""
    return "#" + "".join(f"{int(c):02x}" for c in colour)
