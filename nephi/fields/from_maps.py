"""Neural fields that begin as a deformation that is known already."""

from __future__ import annotations

import torch

from nephi.errors import UsageError
from nephi.fields.build import build_fields
from nephi.fields.decoders import Dense, SiluDecoder
from nephi.fields.grids import LatentGrids
from nephi.fields.neural_field import FieldPair, NeuralField
from nephi.fields.settings import FieldSettings
from nephi.geometry import Grid, PointMap

BLOCK = 65536  # nodes


@torch.no_grad()
def fields_from_maps(
    settings: FieldSettings, grid: Grid, phi: PointMap, inverse: PointMap, generator: torch.Generator
) -> FieldPair:
    """Return fields over `grid` that equal `phi` and its `inverse` (world mm to world mm) at their finest nodes.

    Between nodes they are linear. The displacement lies in the first channels of the finest level; as
    `silu(z) - silu(-z) = z`, two hidden units hand each component through unchanged, and all the others are as in a
    fresh field, free to be fitted. So whatever found the deformation, a fit can go on from it with its usual fields.

    Raises `UsageError` for settings that `can_start_from_maps` refuses.
    """
    d = grid.dimension
    if not can_start_from_maps(settings, d):
        raise UsageError(
            f"field: expected dense grids of {d} channels or more, a silu decoder of one layer of more than {2 * d} "
            "units, an inverse and no codes, to begin as a known deformation"
        )
    fields = build_fields(settings, grid, generator)
    for field, known in ((fields.forward_field, phi), (fields.inverse_field, inverse)):
        if field is not None:
            _seed(field, known)
    return fields


def can_start_from_maps(settings: FieldSettings, dimension: int) -> bool:
    """Tell whether fields of these settings can begin as a known deformation."""
    grids = settings.encoding not in ("hash", "fourier", "coordinates") and settings.channels >= dimension
    reads = settings.decoder == "silu" and settings.layers == 1 and settings.hidden > 2 * dimension
    return settings.inverse and grids and reads and not settings.global_codes + settings.local_codes


def _seed(field: NeuralField, known: PointMap) -> None:
    d, encoding, decoder = field.dimension, field.encoding, field.decoder
    assert isinstance(encoding, LatentGrids) and isinstance(decoder, SiluDecoder)
    hidden = decoder.hidden[0]
    assert isinstance(hidden, Dense)
    level = max(range(len(encoding.shapes)), key=lambda k: encoding.shapes[k])
    nodes = _nodes(field, encoding.shapes[level])
    outputs = torch.linalg.solve(field.amplitude, torch.cat([known(n) - n for n in nodes.split(BLOCK)]).T).T
    first = int(encoding.first_rows[level])
    encoding.table[first : first + len(outputs), :d] = outputs.to(encoding.table)
    start = level * encoding.width
    for axis in range(d):
        for row, sign in ((2 * axis, 1.0), (2 * axis + 1, -1.0)):
            hidden.weight[row] = 0
            hidden.weight[row, start + axis] = sign
            hidden.bias[row] = 0
            decoder.last.weight[axis, row] = sign


def _nodes(field: NeuralField, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the world points `(N, D)` of a lattice's nodes, last axis fastest."""
    domain = field.domain
    axes = [torch.linspace(0, 1, n, dtype=torch.float64) for n in shape]
    unit = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(shape))
    to_world = domain.to_world.double()
    origin = -to_world @ domain.offset.double()
    return (unit @ to_world.T + origin).float()
