"""Build a pair of fields from settings."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.fields.decoders import Decoder, GatedSineDecoder, SiluDecoder, SirenDecoder
from nephi.fields.domain import Domain
from nephi.fields.encodings import Coordinates, Encoding, FourierFeatures
from nephi.fields.grids import HashGrids, LatentCodes, LatentGrids
from nephi.fields.neural_field import FieldPair, NeuralField
from nephi.fields.settings import GRID_ENCODINGS, FieldSettings
from nephi.geometry import Grid

LARGEST_SIZE = 2**30  # values of the latent grids of one field: 4 GiB
MOST_NODES, MOST_NESTED = 2**16, 2**12  # along an axis; nested lattices take a search over their nodes
SPREAD = 1e-2  # standard deviation of initial latent features


def build_fields(settings: FieldSettings, grid: Grid, generator: torch.Generator) -> FieldPair:
    """Build an untrained pair of fields over `grid`; both are the identity."""
    domain = Domain(grid)
    lattices = encoding_lattices(settings, domain)
    codes = None
    if settings.global_codes or settings.local_codes:
        lattice = local_code_lattice(settings, domain)
        codes = LatentCodes(settings.global_codes, settings.local_codes, lattice, SPREAD, generator, settings.degree)

    def field() -> NeuralField:
        encoding = _encoding(settings, domain, lattices, generator)
        decoder = _decoder(settings, encoding.channels, codes.channels if codes else 0, grid.dimension, generator)
        return NeuralField(domain, encoding, decoder, codes, _amplitude(settings, domain), settings)

    return FieldPair(field(), field() if settings.inverse else None, settings)


def encoding_lattices(settings: FieldSettings, domain: Domain) -> list[tuple[int, ...]]:
    """Return the nodes of a field's latent grids, one for each of the `spacings`; none for a field without grids.

    Raises `UsageError` for spacings that are too small for the domain.
    """
    if settings.encoding not in GRID_ENCODINGS:
        return []
    lattices = _with_border([domain.lattice(spacing) for spacing in settings.spacings], settings)
    most = settings.table_size if settings.encoding == "hash" else math.inf
    values = sum(min(math.prod(shape), most) for shape in lattices)
    longest = MOST_NESTED if settings.encoding == "nested" else MOST_NODES
    _require_few("spacings", lattices, values * settings.channels, longest)
    if settings.encoding != "nested":
        return lattices
    return _with_border(domain.nested_lattices(settings.spacings), settings)


def local_code_lattice(settings: FieldSettings, domain: Domain) -> tuple[int, ...]:
    """Return the nodes of the local codes; none for fields without local codes.

    Raises `UsageError` for a spacing that is too small for the domain.
    """
    if not settings.local_codes:
        return ()
    (lattice,) = _with_border([domain.lattice(settings.code_spacing)], settings)
    _require_few("code_spacing", [lattice], math.prod(lattice) * settings.local_codes, MOST_NODES)
    return lattice


def _with_border(lattices: list[tuple[int, ...]], settings: FieldSettings) -> list[tuple[int, ...]]:
    """Return the nodes of splines for lattices with nodes at the planes between cells: some lie beyond the box."""
    return [tuple(nodes + settings.degree - 1 for nodes in lattice) for lattice in lattices]


def _require_few(name: str, lattices: list[tuple[int, ...]], values: float, longest: int) -> None:
    """Raise `UsageError` for more values than `LARGEST_SIZE`, or more nodes along an axis than `longest`."""
    nodes = max(max(lattice) for lattice in lattices)
    if values > LARGEST_SIZE or nodes > longest:
        raise UsageError(
            f"field.{name}: expected larger spacings for this box: at most {longest} nodes along an axis and "
            f"{LARGEST_SIZE} values, got {nodes:.3g} and {values:.3g}"
        )


def _encoding(
    settings: FieldSettings, domain: Domain, shapes: list[tuple[int, ...]], generator: torch.Generator
) -> Encoding:
    match settings.encoding:
        case "dense" | "nested":
            return LatentGrids(shapes, settings.channels, SPREAD, generator, settings.degree)
        case "hash":
            return HashGrids(shapes, settings.channels, SPREAD, generator, settings.table_size, settings.degree)
        case "fourier":
            return FourierFeatures(len(domain.lengths), settings.frequencies, settings.sigma, generator)
        case _:
            return Coordinates(len(domain.lengths))


def _decoder(settings: FieldSettings, inputs: int, codes: int, outputs: int, generator: torch.Generator) -> Decoder:
    hidden, layers = settings.hidden, settings.layers
    match settings.decoder:
        case "silu":
            return SiluDecoder(inputs, codes, hidden, layers, outputs, generator)
        case "siren":
            return SirenDecoder(inputs, codes, hidden, layers, outputs, settings.omegas, generator)
        case _:
            return GatedSineDecoder(inputs, codes, hidden, layers, outputs, settings.omegas, generator)


def _amplitude(settings: FieldSettings, domain: Domain) -> Tensor:
    if settings.amplitude_unit == "mm":
        return settings.amplitude * torch.eye(len(domain.lengths), dtype=torch.float32)
    return settings.amplitude * domain.to_world
