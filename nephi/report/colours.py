"""Colours of numbers: volume change with its folds, lengths of displacements, and errors of landmarks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
LEVELS = 33  # of volume change: more cannot be told apart, and bands are a third of the bytes of a smooth ramp
BEYOND, FOLDED = 0, LEVELS + 1  # indices of the palette; those between are volume changes
REACHES = (1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)


@dataclass(frozen=True)
class ChangeScale:
    """Colours of Jacobian determinants: logarithmic, from `1 / reach` over 1 (no change, white) to `reach`."""

    reach: float

    @classmethod
    def for_determinants(cls, determinants: NDArray[np.float32]) -> ChangeScale:
        """Return the smallest scale that holds all but a few of the determinants (NaN and folds do not count)."""
        there = determinants[determinants > 0]
        far = float(np.quantile(np.abs(np.log(there)), 0.995)) if there.size else 0.0
        return cls(next((r for r in REACHES if math.log(r) >= far), REACHES[-1]))

    def indices(self, determinants: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the palette's index of each determinant `(..., H, W)`; NaN is `BEYOND`.

        Folds (`det J <= 0`) are `FOLDED`, and so is the pixel on each side of one: a single one would be overlooked.
        """
        there = ~np.isnan(determinants)
        folded = there & (determinants <= 0)
        share = 0.5 + np.log(np.where(there & ~folded, determinants, 1)) / (2 * math.log(self.reach))
        found = np.where(there, 1 + np.round(np.clip(share, 0, 1) * (LEVELS - 1)), BEYOND).astype(np.uint8)
        found[grown(folded)] = FOLDED
        return found

    def palette(self) -> NDArray[np.uint8]:
        """Return the colour of each index, `(LEVELS + 2, 4)` RGBA; `BEYOND` is transparent."""
        colours = np.zeros((LEVELS + 2, 4), np.uint8)
        colours[1:FOLDED, :3] = self.ramp()
        colours[FOLDED, :3] = FOLD
        colours[1:, 3] = 255
        return colours

    def ramp(self) -> NDArray[np.uint8]:
        """Return the colours `(LEVELS, 3)` from `1 / reach` to `reach`."""
        return colours_of(np.linspace(0, 1, LEVELS), CHANGE)


def grown(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return marks `(..., H, W)` with their neighbours across an edge of the pixel."""
    result = marked.copy()
    result[..., 1:, :] |= marked[..., :-1, :]
    result[..., :-1, :] |= marked[..., 1:, :]
    result[..., :, 1:] |= marked[..., :, :-1]
    result[..., :, :-1] |= marked[..., :, 1:]
    return result


def colours_of(shares: NDArray[np.float64], stops: Stops) -> NDArray[np.uint8]:
    """Return colours `(..., 3)` of shares 0 to 1 between the stops of a scale."""
    places = [place for place, _ in stops]
    return np.stack(
        [np.round(np.interp(shares, places, [c[i] for _, c in stops])).astype(np.uint8) for i in range(3)], axis=-1
    )


def hexadecimal(colour: NDArray[np.uint8] | tuple[int, int, int]) -> str:
    """Return a colour as `#rrggbb`."""
    return "#" + "".join(f"{int(c):02x}" for c in colour)
