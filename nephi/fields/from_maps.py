"""Neural fields that start as a known deformation."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.fields.build import build_fields
from nephi.fields.decoders import Dense, SiluDecoder
from nephi.fields.grids import LatentGrids
from nephi.fields.neural_field import FieldPair, NeuralField
from nephi.fields.settings import FieldSettings
from nephi.geometry import Grid, PointMap, spline_coefficients, spline_sites

BLOCK = 65536  # nodes


@torch.no_grad()
def fields_from_maps(
    settings: FieldSettings, grid: Grid, phi: PointMap, inverse: PointMap, generator: torch.Generator
) -> FieldPair:
    """Return fields over `grid` that equal `phi` and its `inverse` (world mm to world mm) at their finest nodes.

    They are linear between the nodes; fields of B-splines equal both maps at as many `spline_sites`. The displacement
    is stored in the first channels of the finest level; as `silu(z) - silu(-z) = z`, two hidden units pass each
    component on unchanged. All other parameters are those of fresh fields, so that a fit can continue from a
    deformation of any source.

    Raises `UsageError` for settings that `can_start_from_maps` rejects.
    """
    d = grid.dimension
    if not can_start_from_maps(settings, d):
        raise UsageError(
            f"field: expected dense grids of at least {d} channels, a silu decoder with one layer of more than {2 * d} "
            "units, an inverse and no codes, for fields that start as a given deformation"
        )
    fields = build_fields(settings, grid, generator)
    for field, target in ((fields.forward_field, phi), (fields.inverse_field, inverse)):
        if field is not None:
            _set_displacement(field, target)
    return fields


def can_start_from_maps(settings: FieldSettings, dimension: int) -> bool:
    """Return whether fields of these settings can represent a given deformation, see `fields_from_maps`."""
    grids = settings.encoding not in ("hash", "fourier", "coordinates") and settings.channels >= dimension
    linear = settings.decoder == "silu" and settings.layers == 1 and settings.hidden > 2 * dimension
    return settings.inverse and grids and linear and not settings.global_codes + settings.local_codes


def _set_displacement(field: NeuralField, target: PointMap) -> None:
    """Set the parameters of a fresh field such that it equals `target` at its finest nodes."""
    d, encoding, decoder = field.dimension, field.encoding, field.decoder
    assert isinstance(encoding, LatentGrids) and isinstance(decoder, SiluDecoder)
    hidden = decoder.hidden[0]
    assert isinstance(hidden, Dense)
    level = max(range(len(encoding.shapes)), key=lambda k: encoding.shapes[k])
    shape = encoding.shapes[level]
    sites = _sites(field, shape, encoding.degree)
    displacement = torch.cat([target(part) - part for part in sites.split(BLOCK)])
    outputs = torch.linalg.solve(field.amplitude, displacement.to(field.amplitude).T).T
    outputs = spline_coefficients(outputs.reshape(*shape, d), encoding.degree).reshape(-1, d)
    first = int(encoding.first_rows[level])
    encoding.table[first : first + len(outputs), :d] = outputs.to(encoding.table)
    first_channel = level * encoding.width
    for axis in range(d):
        for row, sign in ((2 * axis, 1.0), (2 * axis + 1, -1.0)):
            hidden.weight[row] = 0
            hidden.weight[row, first_channel + axis] = sign
            hidden.bias[row] = 0
            decoder.last.weight[axis, row] = sign


def _sites(field: NeuralField, shape: tuple[int, ...], degree: int) -> Tensor:
    """Return the world points `(N, D)` at which values determine those of a lattice's nodes, last axis fastest."""
    domain = field.domain
    axes = [spline_sites(n - degree, degree) for n in shape]
    unit = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(shape))
    to_world = domain.to_world.double()
    origin = -to_world @ domain.offset.double()
    return (unit @ to_world.T + origin).float()
