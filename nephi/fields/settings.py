"""The architecture of neural fields."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nephi.errors import UsageError

GRID_ENCODINGS = ("dense", "nested", "hash")
ENCODINGS = (*GRID_ENCODINGS, "fourier", "coordinates")
DECODERS = ("silu", "siren", "gated-sine")


@dataclass(frozen=True)
class FieldSettings:
    """Architecture of a pair of neural fields; any encoding can be combined with any decoder, in 2-D and 3-D.

    encoding: feature grids, which are interpolated: `dense`, `nested` or `hash`; `fourier` features; or `coordinates`,
        the position itself. The planes of `nested` grids are those of the finest grid or midway between them, so that
        one grid contains all planes (`Transform.cells`); halve the spacings from grid to grid, or divide them once
        by 1.5.
    spacings: largest distance between the nodes of each feature grid, mm, coarse to fine.
    channels, table_size: channels of each feature grid; largest number of rows of a hash grid.
    frequencies, sigma: number of Fourier features, and standard deviation of their random frequencies in cycles per
        edge of the domain.
    decoder: `silu`, `siren` or `gated-sine`, with `layers` hidden layers of `hidden` units.
    omegas: frequencies of the first and of the deeper sine layers.
    global_codes, local_codes: channels of the latent codes, which phi and its inverse share; local codes are
        interpolated from a grid with a spacing of `code_spacing` mm.
    amplitude: displacement for a decoder output of 1, in mm along the world axes (`amplitude_unit = "mm"`) or in edges
        of the domain along its axes (`"edge"`).
    inverse: whether a second field is fitted as the inverse.
    """

    encoding: str = "dense"
    decoder: str = "silu"
    spacings: tuple[float, ...] = (80.0, 40.0, 20.0, 10.0)
    channels: int = 4
    table_size: int = 32768
    frequencies: int = 128
    sigma: float = 1.0
    hidden: int = 32
    layers: int = 1
    omegas: tuple[float, float] = (1.0, 30.0)
    global_codes: int = 0
    local_codes: int = 0
    code_spacing: float = 40.0
    amplitude: float = 10.0
    amplitude_unit: str = "mm"
    inverse: bool = True

    @property
    def has_latent_values(self) -> bool:
        """Whether the fields have latent values: grids of features, or codes."""
        return self.encoding in GRID_ENCODINGS or self.global_codes > 0 or self.local_codes > 0

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise UsageError(f"field.encoding: expected one of {', '.join(ENCODINGS)}, got {self.encoding!r}")
        if self.decoder not in DECODERS:
            raise UsageError(f"field.decoder: expected one of {', '.join(DECODERS)}, got {self.decoder!r}")
        counts = {
            "channels": self.channels,
            "table_size": self.table_size,
            "frequencies": self.frequencies,
            "hidden": self.hidden,
            "layers": self.layers,
        }
        for name, count in counts.items():
            if count < 1:
                raise UsageError(f"field.{name}: expected at least 1, got {count}")
        if self.global_codes < 0 or self.local_codes < 0:
            raise UsageError(
                "field.global_codes and field.local_codes: expected 0 or more, got "
                f"{self.global_codes} and {self.local_codes}"
            )
        if not self.spacings or min(*self.spacings, self.code_spacing) <= 0:
            raise UsageError(
                f"field.spacings and field.code_spacing: expected millimetres above 0, got {self.spacings}"
            )
        numbers = (*self.spacings, self.code_spacing, self.sigma, *self.omegas, self.amplitude)
        if not all(map(math.isfinite, numbers)):
            raise UsageError(f"field: expected finite numbers, got {', '.join(f'{n:g}' for n in numbers)}")
        if min(self.omegas) <= 0:
            raise UsageError(f"field.omegas: expected frequencies above 0, got {self.omegas}")
        if self.amplitude <= 0 or self.amplitude_unit not in ("mm", "edge"):
            raise UsageError(
                "field.amplitude, field.amplitude_unit: expected a number above 0 and mm or edge, got "
                f"{self.amplitude} {self.amplitude_unit!r}"
            )
