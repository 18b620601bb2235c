"""Pairs of fields, and affine maps between them, composed to one phi and one inverse, to be fitted together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from nephi.fields.compiled import gradients_in_place
from nephi.fields.maps import single_maps
from nephi.fields.neural_field import FieldPair, NeuralField
from nephi.transforms import AffineTransform, Composite, MapPair, SingleMap, mean_penalties


class ComposedField(Composite):
    """Neural fields and affine maps applied one after the other, the **first** of the list first."""

    def __init__(self, members: Sequence[NeuralField | AffineTransform]) -> None:
        super().__init__(members)
        self.fields = tuple(member for member in members if isinstance(member, NeuralField))

    @property
    def device(self) -> torch.device:
        """The device of the fields."""
        return self.fields[0].device

    @property
    def local_features(self) -> list[Tensor]:
        """The latent features of all fields, each with a local effect; empty if one of the fields has none."""
        features = [field.local_features for field in self.fields]
        return [part for parts in features for part in parts] if all(features) else []


class ComposedFieldPair(nn.Module):
    """phi and its inverse, composed of pairs of fields that are fitted together like a single `FieldPair`.

    `members` are in the order in which phi applies them, at least one of them a pair; affine maps stay as they are. The
    inverse applies the members' inverses in reverse order; there is none if a pair has none.
    """

    def __init__(self, members: Sequence[FieldPair | AffineTransform]) -> None:
        super().__init__()
        self.pairs = nn.ModuleList(member for member in members if isinstance(member, FieldPair))
        self.forward_field = ComposedField([m.forward_field if isinstance(m, FieldPair) else m for m in members])
        inverses = [m.inverse_field if isinstance(m, FieldPair) else m.inverse() for m in reversed(members)]
        present = [inverse for inverse in inverses if inverse is not None]
        self.inverse_field = ComposedField(present) if len(present) == len(members) else None

    def gradients_in_place(self) -> AbstractContextManager[None]:
        """Return a context in which backward passes may add gradients directly to `.grad`; see `fields.compiled`."""
        return gradients_in_place(field for field in self.modules() if isinstance(field, NeuralField))

    def round_tables(self) -> None:
        """Round latent tables to half precision, as `FieldPair.round_tables`."""
        for pair in self._field_pairs():
            pair.round_tables()

    def maps(self) -> MapPair:
        """Return the compositions as the maps of B = 1 pairs; the penalty `codes` is the mean over the pairs."""
        penalties = mean_penalties([single_maps(pair).penalties for pair in self._field_pairs()])
        inverse = self.inverse_field
        return MapPair(SingleMap(self.forward_field), None if inverse is None else SingleMap(inverse), penalties)

    def _field_pairs(self) -> list[FieldPair]:
        return [pair for pair in self.pairs if isinstance(pair, FieldPair)]
