"""The number of values in a pair of fields, computed from their settings without allocating anything."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nephi.fields.build import encoding_lattices, local_code_lattice
from nephi.fields.domain import Domain
from nephi.fields.settings import FieldSettings
from nephi.geometry import Grid


@dataclass(frozen=True)
class FieldSize:
    """Sizes of the pair of fields that `build_fields` returns for the same settings and grid.

    `lattices` are the nodes of the latent grids of one field, none for encodings without grids; `code_lattice` those of
    the local codes, empty without any. `latent` counts the parameters that differ from pair to pair (global code, local
    codes, latent grids of both fields), `decoders` the weights of both decoders.
    """

    lattices: tuple[tuple[int, ...], ...]
    code_lattice: tuple[int, ...]
    latent: int
    decoders: int

    @property
    def all_lattices(self) -> tuple[tuple[int, ...], ...]:
        """The nodes of the local codes, where there are any, and of the latent grids."""
        return (*([self.code_lattice] if self.code_lattice else []), *self.lattices)

    @property
    def parameters(self) -> int:
        """Number of all parameters."""
        return self.latent + self.decoders


def field_size(settings: FieldSettings, grid: Grid) -> FieldSize:
    """Compute the sizes of the fields of `settings` over the box of `grid`.

    Raises `UsageError` for spacings that are too small for the grid.
    """
    domain, fields = Domain(grid), 2 if settings.inverse else 1
    lattices = tuple(encoding_lattices(settings, domain))
    rows = sum(_table_rows(settings, lattice) for lattice in lattices)
    code_lattice = local_code_lattice(settings, domain)
    latent = settings.global_codes + settings.local_codes * math.prod(code_lattice) + fields * rows * settings.channels
    return FieldSize(lattices, code_lattice, latent, fields * _decoder_parameters(settings, grid.dimension))


def _table_rows(settings: FieldSettings, lattice: tuple[int, ...]) -> int:
    nodes = math.prod(lattice)
    return min(nodes, settings.table_size) if settings.encoding == "hash" else nodes


def _decoder_parameters(settings: FieldSettings, dimension: int) -> int:
    features = {
        "fourier": 2 * settings.frequencies,
        "coordinates": dimension,
    }.get(settings.encoding, settings.channels * len(settings.spacings))
    codes, hidden, layers = settings.global_codes + settings.local_codes, settings.hidden, settings.layers
    deeper = (layers - 1) * hidden * (hidden + 1)
    stack = (features + codes + 1) * hidden + deeper
    if settings.decoder == "gated-sine":
        stack += (features + 1) * hidden + deeper
    return stack + (hidden + 1) * dimension
