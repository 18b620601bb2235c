"""The deformations of several pairs at once: one network, and latent values for each pair."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nephi.fields import jets
from nephi.fields.compiled import arrays_of, evaluate
from nephi.fields.grids import LatentGrids
from nephi.fields.neural_field import FieldPair, NeuralField


class LatentBatch:
    """The latent values of B pairs, as somebody (an encoder) says they are; gradients reach them.

    `everywhere` `(B, G)` are the global codes; `tables` has for each of `latent_grids(fields)` its values
    `(B, rows, channels)`.
    """

    def __init__(self, everywhere: Tensor, tables: Sequence[Tensor]) -> None:
        # Mixed precision has rounded them; positions in a field need what is left of their digits in full precision.
        self.everywhere = _single_at_least(everywhere)
        self.tables = tuple(map(_single_at_least, tables))

    def __len__(self) -> int:
        return len(self.everywhere)

    def magnitude(self) -> Tensor:
        """Return `mean |z|` over all values of all pairs."""
        return torch.cat([part.reshape(-1) for part in (self.everywhere, *self.tables)]).abs().mean()

    def one(self, pair: int) -> LatentBatch:
        """Return those of a single pair, as a batch of one."""
        return LatentBatch(self.everywhere[pair : pair + 1], [table[pair : pair + 1] for table in self.tables])


def latent_grids(fields: FieldPair) -> list[LatentGrids]:
    """Return the lattices whose values differ from pair to pair: that of the shared codes, those of either field."""
    found = [] if fields.codes is None or fields.codes.local is None else [fields.codes.local]
    both = [field for field in (fields.forward_field, fields.inverse_field) if field is not None]
    return found + [field.encoding for field in both if isinstance(field.encoding, LatentGrids)]


def latent_parameters(fields: FieldPair) -> list[nn.Parameter]:
    """Return what differs from pair to pair: the values of `latent_grids`, and the global codes."""
    everywhere = [] if fields.codes is None else [fields.codes.everywhere]
    return everywhere + [grids.table for grids in latent_grids(fields)]


def batches(fields: FieldPair, latent: LatentBatch) -> tuple[FieldBatch, FieldBatch | None]:
    """Return phi and its inverse for each pair whose latent values are given."""
    table_of = dict(zip(latent_grids(fields), latent.tables, strict=True))
    forward = FieldBatch(fields.forward_field, latent, table_of)
    inverse = fields.inverse_field
    return forward, None if inverse is None else FieldBatch(inverse, latent, table_of)


@torch.no_grad()
def give_latent(fields: FieldPair, latent: LatentBatch) -> None:
    """Make the latent values of one pair (a batch of one) those of `fields`, in place."""
    if fields.codes is not None:
        fields.codes.everywhere.copy_(latent.everywhere[0])
    for grids, table in zip(latent_grids(fields), latent.tables, strict=True):
        grids.table.copy_(table[0])


class FieldBatch:
    """The deformations of B pairs that share one network and differ in their latent values.

    Points `(B, N, D)`, world mm, as many for each pair; values and Jacobians are differentiable with respect to the
    network, the latent values and the points.
    """

    def __init__(self, field: NeuralField, latent: LatentBatch, table_of: dict[LatentGrids, Tensor]) -> None:
        self.field = field
        self.latent = latent
        self._table_of = table_of
        encoding = field.encoding
        own = table_of[encoding] if isinstance(encoding, LatentGrids) else None
        compiled = [] if own is None else [arrays_of(field, table) for table in own.contiguous()]
        self._arrays = [arrays for arrays in compiled if arrays is not None]  # of all pairs or none

    def __call__(self, points: Tensor) -> Tensor:
        """Return where the points `(B, N, D)` go, mm."""
        with torch.autocast(points.device.type, enabled=False):
            return self._value(points)

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the points go, and `d phi_i / d x_j`, `(B, N, D)` and `(B, N, D, D)`."""
        with torch.autocast(points.device.type, enabled=False):
            return self._value_and_jacobian(points)

    def _value(self, points: Tensor) -> Tensor:
        if self._arrays:
            pairs = zip(self._arrays, points, strict=True)
            return points + torch.stack([evaluate(arrays, some, jacobian=False)[0] for arrays, some in pairs])
        moved = self.field.decode(points.reshape(-1, points.shape[-1]), self._read)
        return points + moved.reshape(points.shape)

    def _value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        if self._arrays:
            pairs = zip(self._arrays, points, strict=True)
            found = [evaluate(arrays, some, jacobian=True) for arrays, some in pairs]
            return points + torch.stack([f[0] for f in found]), torch.stack([f[1] for f in found if f[1] is not None])
        moved, jacobian = self.field.decode_with_jacobian(points.reshape(-1, points.shape[-1]), self._read)
        return points + moved.reshape(points.shape), jacobian.reshape(*points.shape, points.shape[-1])

    def _read(self, unit: Tensor, directions: int) -> tuple[Tensor, Tensor | None]:
        """Return the jets of features and codes at points `(B * N, D)` of the unit cube, pair after pair."""
        encoding, codes = self.field.encoding, self.field.codes
        if isinstance(encoding, LatentGrids):
            features = self._grids(encoding, unit, directions)
        else:
            features = encoding.jet(unit, directions)
        if codes is None:
            return features, None
        same = jets.constant(self.latent.everywhere.repeat_interleave(self._each(unit), dim=0), len(unit), directions)
        near = [] if codes.local is None else [self._grids(codes.local, unit, directions)]
        return features, torch.cat([same, *near], dim=-1)

    def _grids(self, grids: LatentGrids, unit: Tensor, directions: int) -> Tensor:
        first = grids.rows * torch.arange(len(self.latent), device=unit.device).repeat_interleave(self._each(unit))
        return grids.read(self._table_of[grids].reshape(-1, grids.width), unit, directions, first)

    def _each(self, unit: Tensor) -> int:
        return len(unit) // len(self.latent)


def _single_at_least(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
