"""Fields applied one after the other, for those who need phi and its inverse as one function each."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from nephi.fields.compiled import gradients_in_place
from nephi.fields.maps import single_maps
from nephi.fields.neural_field import FieldPair, NeuralField
from nephi.transforms import Composite, MapPair, SingleMap, mean_penalties


class ComposedField(Composite):
    """Neural fields one after the other, the **first** of the list first, with what a fit asks of a field."""

    def __init__(self, members: Sequence[NeuralField]) -> None:
        super().__init__(members)
        self.members = tuple(members)

    @property
    def device(self) -> torch.device:
        """Where the fields are."""
        return self.members[0].device

    @property
    def local_features(self) -> list[Tensor]:
        """The latent features of all members of which each bears on the chain nearby only; none where one has none."""
        each = [field.local_features for field in self.members]
        return [part for parts in each for part in parts] if all(each) else []


class ComposedFieldPair(nn.Module):
    """phi and its inverse as chains of pairs of fields, fitted together as `FieldPair` is.

    `pairs` are in the order in which phi applies them; the inverse applies theirs the other way round.
    """

    def __init__(self, pairs: Sequence[FieldPair]) -> None:
        super().__init__()
        self.pairs = nn.ModuleList(pairs)
        self.forward_field = ComposedField([pair.forward_field for pair in pairs])
        inverses = [pair.inverse_field for pair in reversed(pairs) if pair.inverse_field is not None]
        self.inverse_field = ComposedField(inverses) if len(inverses) == len(pairs) else None

    def gradients_in_place(self) -> AbstractContextManager[None]:
        """Inside, a backward pass may add gradients straight to `.grad`; see `nephi.fields.compiled`."""
        return gradients_in_place(field for field in self.modules() if isinstance(field, NeuralField))

    def round_tables(self) -> None:
        """Round latent tables to half precision, as `FieldPair.round_tables`."""
        for pair in self._pairs():
            pair.round_tables()

    def maps(self) -> MapPair:
        """Return the compositions as the maps of B = 1 pairs; the penalty `codes` is the mean over the pairs."""
        penalties = mean_penalties([single_maps(pair).penalties for pair in self._pairs()])
        inverse = self.inverse_field
        return MapPair(SingleMap(self.forward_field), None if inverse is None else SingleMap(inverse), penalties)

    def _pairs(self) -> list[FieldPair]:
        return [pair for pair in self.pairs if isinstance(pair, FieldPair)]
