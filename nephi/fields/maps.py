"""Neural fields of several pairs at once: one network, and latent values for each pair."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from nephi.fields import jets
from nephi.fields.compiled import arrays_of, evaluate
from nephi.fields.grids import LatentGrids
from nephi.fields.neural_field import FieldPair, NeuralField
from nephi.transforms import MapPair, Maps, Penalties, SingleMap


class LatentBatch:
    """The latent values of B pairs, predicted by an encoder or kept in a table; gradients reach them.

    `global_codes` is `(B, G)`; `tables` has for each of `latent_grids(fields)` its values `(B, rows, channels)`.
    """

    def __init__(self, global_codes: Tensor, tables: Sequence[Tensor]) -> None:
        # Values in half precision are converted: positions in a field are computed in single precision.
        self.global_codes = _at_least_single(global_codes)
        self.tables = tuple(map(_at_least_single, tables))

    def __len__(self) -> int:
        return len(self.global_codes)

    def magnitude(self) -> Tensor:
        """Return the mean |z| over all latent values of all pairs: the penalty `codes`."""
        return mean_magnitude([self.global_codes, *self.tables])

    def norms(self) -> Tensor:
        """Return the summed mean lengths of global codes and of the values of each table: the penalty `code_norms`."""
        return mean_lengths([self.global_codes, *self.tables])

    def penalties(self) -> Penalties:
        """Return the penalties of the values, `codes` and `code_norms`; none if there are no values."""
        has_values = any(part.numel() for part in (self.global_codes, *self.tables))
        return Penalties({"codes": self.magnitude, "code_norms": self.norms} if has_values else {})

    def rows(self, pairs: slice) -> LatentBatch:
        """Return the values of some of the pairs."""
        return LatentBatch(self.global_codes[pairs], [table[pairs] for table in self.tables])

    def equals(self, other: LatentBatch) -> bool:
        """Return whether all values are the same."""
        parts = zip((self.global_codes, *self.tables), (other.global_codes, *other.tables), strict=True)
        return self is other or all(torch.equal(one, two) for one, two in parts)


def mean_magnitude(latents: Sequence[Tensor]) -> Tensor:
    """Return the mean |z| over all values of several tensors, not all of them empty."""
    return torch.cat([part.reshape(-1) for part in latents]).abs().mean()


def mean_lengths(latents: Sequence[Tensor]) -> Tensor:
    """Return the sum over several tensors `(..., channels)` of the mean Euclidean length of their vectors.

    The penalty of NePhi's published code (Tian et al., ECCV 2024): `mean |z_global|_2 + mean |z_local|_2`, the second
    mean over the nodes of the grid. Tensors without channels are left out.
    """
    return torch.stack([part.norm(dim=-1).mean() for part in latents if part.numel()]).sum()


def latent_grids(fields: FieldPair) -> list[LatentGrids]:
    """Return the lattices of latent values: that of the shared codes, then those of both fields."""
    grids = [] if fields.codes is None or fields.codes.local is None else [fields.codes.local]
    members = [field for field in (fields.forward_field, fields.inverse_field) if field is not None]
    return grids + [field.encoding for field in members if isinstance(field.encoding, LatentGrids)]


def latent_parameters(fields: FieldPair) -> list[nn.Parameter]:
    """Return the latent parameters, which differ between pairs: the global code and the values of `latent_grids`."""
    global_code = [] if fields.codes is None else [fields.codes.global_code]
    return global_code + [grids.table for grids in latent_grids(fields)]


def field_maps(fields: FieldPair, latent: LatentBatch) -> MapPair:
    """Return phi and its inverse for each pair of a batch of latent values."""
    table_of = dict(zip(latent_grids(fields), latent.tables, strict=True))
    forward = FieldMaps(fields, fields.forward_field, latent, table_of)
    inverse = fields.inverse_field
    backward = None if inverse is None else FieldMaps(fields, inverse, latent, table_of)
    return MapPair(forward, backward, forward.penalties())


def single_maps(fields: FieldPair) -> MapPair:
    """Return the fields of a fit as the maps of B = 1 pairs, with the penalties of their latent values."""
    latents = latent_parameters(fields)
    functions = {"codes": partial(mean_magnitude, latents), "code_norms": partial(mean_lengths, latents)}
    penalties = Penalties(functions if any(latent.numel() for latent in latents) else {})
    inverse = fields.inverse_field
    return MapPair(SingleMap(fields.forward_field), None if inverse is None else SingleMap(inverse), penalties)


@torch.no_grad()
def fields_with_latent(fields: FieldPair, latent: LatentBatch) -> FieldPair:
    """Return a copy of `fields` with the latent values of one pair (a batch of one), free to be fitted or stored."""
    result = copy.deepcopy(fields)
    if result.codes is not None:
        result.codes.global_code.copy_(latent.global_codes[0])
    for grids, table in zip(latent_grids(result), latent.tables, strict=True):
        grids.table.copy_(table[0])
    return result.requires_grad_(True)


class FieldMaps(Maps):
    """The deformations of B pairs by one of two `fields`, shared by the pairs, which differ in their latent values.

    Values and Jacobians are differentiable with respect to the network, the latent values and the points.
    """

    def __init__(
        self, fields: FieldPair, field: NeuralField, latent: LatentBatch, table_of: Mapping[LatentGrids, Tensor]
    ) -> None:
        self.fields = fields
        self.field = field
        self.latent = latent
        self._table_of = table_of
        encoding = field.encoding
        features = table_of[encoding] if isinstance(encoding, LatentGrids) else None
        compiled = [] if features is None else [arrays_of(field, table) for table in features.contiguous()]
        self._arrays = [arrays for arrays in compiled if arrays is not None]  # of all pairs or none

    def __len__(self) -> int:
        return len(self.latent)

    def __call__(self, points: Tensor) -> Tensor:
        """Return the values `(B, N, D)` at world points, mm."""
        with torch.autocast(points.device.type, enabled=False):
            return self._value(points)

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values, and `d phi_i / d x_j`, `(B, N, D)` and `(B, N, D, D)`."""
        with torch.autocast(points.device.type, enabled=False):
            return self._value_and_jacobian(points)

    def rows(self, pairs: slice) -> FieldMaps:
        """Return the deformations of some of the pairs."""
        table_of = {grids: table[pairs] for grids, table in self._table_of.items()}
        return FieldMaps(self.fields, self.field, self.latent.rows(pairs), table_of)

    def one(self, pair: int) -> NeuralField:
        """Return the field of one pair with its own copy of the network."""
        pair_fields = self.field_pair(pair).cpu().requires_grad_(False)
        inverse = pair_fields.inverse_field
        return pair_fields.forward_field if self.field is self.fields.forward_field or inverse is None else inverse

    def inverts(self, other: Maps) -> bool:
        """Return whether `other` is the other field of the same pair, with the same latent values."""
        if not isinstance(other, FieldMaps) or self.fields is not other.fields or self.field is other.field:
            return False
        return self.latent.equals(other.latent)

    def field_pair(self, pair: int) -> FieldPair:
        """Return both fields of one pair, phi and its inverse, with their own copies of the networks."""
        return fields_with_latent(self.fields, self.latent.rows(slice(pair, pair + 1)))

    def penalties(self) -> Penalties:
        """Return `codes` and `code_norms` of the latent values of all pairs."""
        return self.latent.penalties()

    def _value(self, points: Tensor) -> Tensor:
        if self._arrays:
            pairs = zip(self._arrays, points, strict=True)
            return points + torch.stack([evaluate(arrays, part, jacobian=False)[0] for arrays, part in pairs])
        displacement = self.field.decode(points.reshape(-1, points.shape[-1]), self._read)
        return points + displacement.reshape(points.shape)

    def _value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        if self._arrays:
            pairs = zip(self._arrays, points, strict=True)
            results = [evaluate(arrays, part, jacobian=True) for arrays, part in pairs]
            jacobians = [jacobian for _, jacobian in results if jacobian is not None]
            return points + torch.stack([displacement for displacement, _ in results]), torch.stack(jacobians)
        displacement, jacobian = self.field.decode_with_jacobian(points.reshape(-1, points.shape[-1]), self._read)
        return points + displacement.reshape(points.shape), jacobian.reshape(*points.shape, points.shape[-1])

    def _read(self, unit: Tensor, directions: int) -> tuple[Tensor, Tensor | None]:
        """Return the jets of features and codes at points `(B * N, D)` of the unit cube, pair after pair."""
        encoding, codes = self.field.encoding, self.field.codes
        if isinstance(encoding, LatentGrids):
            features = self._read_grids(encoding, unit, directions)
        else:
            features = encoding.jet(unit, directions)
        if codes is None:
            return features, None
        each = self._points_per_pair(unit)
        global_jet = jets.constant(self.latent.global_codes.repeat_interleave(each, dim=0), len(unit), directions)
        local_jets = [] if codes.local is None else [self._read_grids(codes.local, unit, directions)]
        return features, torch.cat([global_jet, *local_jets], dim=-1)

    def _read_grids(self, grids: LatentGrids, unit: Tensor, directions: int) -> Tensor:
        pairs = torch.arange(len(self.latent), device=unit.device)
        first_rows = grids.rows * pairs.repeat_interleave(self._points_per_pair(unit))
        return grids.read(self._table_of[grids].reshape(-1, grids.width), unit, directions, first_rows)

    def _points_per_pair(self, unit: Tensor) -> int:
        return len(unit) // len(self.latent)


def _at_least_single(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
