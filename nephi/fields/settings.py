"""The architecture of neural fields."""

from __future__ import annotations

from dataclasses import dataclass

from nephi.argument_types import checked_fields
from nephi.errors import UsageError

GRID_ENCODINGS = ("dense", "nested", "hash")
ENCODINGS = (*GRID_ENCODINGS, "fourier", "coordinates")
INTERPOLATIONS = {"linear": 1, "quadratic": 2, "cubic": 3}  # to the degree of the splines
DECODERS = ("silu", "siren", "gated-sine")
# Beyond these, fields do not fit into memory, or their numbers into float32.
LARGEST_COUNTS = {"channels": 4096, "table_size": 2**28, "frequencies": 2**16, "hidden": 2**14, "layers": 256}
MOST_GRIDS = 64
LARGEST_CODES = 2**20
SMALLEST, LARGEST = 1e-9, 1e9


@checked_fields
@dataclass(frozen=True)
class FieldSettings:
    """Architecture of a pair of neural fields; any encoding can be combined with any decoder, in 2-D and 3-D.

    encoding: feature grids, which are interpolated: `dense`, `nested` or `hash`; `fourier` features; or `coordinates`,
        the position itself. The planes of `nested` grids are those of the finest grid or midway between them, so that
        one grid contains all planes (`Transform.cells`); halve the spacings from grid to grid, or divide them once
        by 1.5.
    spacings: largest distance between the nodes of each feature grid, mm, coarse to fine.
    interpolation: between the nodes of feature grids and local codes: `linear`, with Jacobians that jump at the nodes;
        `quadratic` B-splines, with continuous Jacobians; or `cubic` ones, with continuous second derivatives.
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
    interpolation: str = "linear"
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
    def degree(self) -> int:
        """Degree of the polynomials between the planes of a grid, along an axis: 1, 2 or 3."""
        return INTERPOLATIONS[self.interpolation]

    @property
    def has_latent_values(self) -> bool:
        """Whether the fields have latent values: grids of features, or codes."""
        return self.encoding in GRID_ENCODINGS or self.global_codes > 0 or self.local_codes > 0

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise UsageError(f"field.encoding: expected one of {', '.join(ENCODINGS)}, got {self.encoding!r}")
        if self.interpolation not in INTERPOLATIONS:
            known = ", ".join(INTERPOLATIONS)
            raise UsageError(f"field.interpolation: expected one of {known}, got {self.interpolation!r}")
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
            if not 1 <= count <= LARGEST_COUNTS[name]:
                raise UsageError(f"field.{name}: expected 1 to {LARGEST_COUNTS[name]}, got {count}")
        for name in ("global_codes", "local_codes"):
            if not 0 <= getattr(self, name) <= LARGEST_CODES:
                raise UsageError(f"field.{name}: expected 0 to {LARGEST_CODES}, got {getattr(self, name)}")
        if not 1 <= len(self.spacings) <= MOST_GRIDS:
            raise UsageError(f"field.spacings: expected 1 to {MOST_GRIDS} lengths in mm, got {len(self.spacings)}")
        numbers = {"spacings": self.spacings, "omegas": self.omegas}
        single = {name: (getattr(self, name),) for name in ("code_spacing", "sigma", "amplitude")}
        for name, values in {**numbers, **single}.items():
            for value in values:
                if not SMALLEST <= value <= LARGEST:
                    raise UsageError(f"field.{name}: expected {SMALLEST:g} to {LARGEST:g}, got {value}")
        if self.amplitude_unit not in ("mm", "edge"):
            raise UsageError(f"field.amplitude_unit: expected mm or edge, got {self.amplitude_unit!r}")
