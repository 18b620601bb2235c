"""NePhi's amortized use: an encoder predicts the latent values, two shared networks decode them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nephi.errors import UsageError
from nephi.fields import (
    FieldPair,
    FieldSettings,
    LatentBatch,
    build_fields,
    field_maps,
    fields_with_latent,
    latent_grids,
)
from nephi.geometry import Grid
from nephi.models.encoder import EncoderSettings, Lattice, PairEncoder
from nephi.models.latent_table import CodeBook
from nephi.transforms import MapPair


class NephiNetwork(nn.Module):
    """Predict phi and its inverse for pairs of images on one grid (NePhi; Tian et al., ECCV 2024).

    The fields are those of instance optimisation, `build_fields(settings, grid, ...)`; what is predicted are their
    latent values: global and local codes, and the tables of dense grids. With a number of `pairs` they are not
    predicted but kept, one set for each of these pairs (an auto-decoder). Raises `UsageError` for settings without
    latent values, without an inverse, or with hash grids.
    """

    def __init__(
        self, settings: FieldSettings, encoder: EncoderSettings, grid: Grid, generator: torch.Generator, pairs: int = 0
    ) -> None:
        super().__init__()
        if settings.encoding == "hash":
            raise UsageError("field.encoding: an encoder cannot predict hash grids; choose dense ones")
        self.grid = grid
        self.fields: FieldPair = build_fields(settings, grid, generator)
        grids = latent_grids(self.fields)
        if not (settings.inverse and settings.global_codes + len(grids)):
            raise UsageError(
                "field: an encoder needs an inverse, and global_codes, local_codes or dense grids, to predict"
            )
        for part in (self.fields.codes, *grids):
            if part is not None:
                part.requires_grad_(False)  # predicted, not trained
        lattices = [[Lattice(shape, each.width) for shape in each.shapes] for each in grids]
        self.encoder: PairEncoder | CodeBook = (
            CodeBook(pairs, settings.global_codes, lattices, generator)
            if pairs
            else PairEncoder(encoder, grid.shape, settings.global_codes, lattices, generator)
        )

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Return phi (fixed to moving points) and its inverse for images `(B, 1, *shape)`; points are world mm.

        `pair_ids` `(B,)` are the numbers of training pairs, by which an auto-decoder finds their latent values. The
        penalty `codes` is the mean |z| of the latent values.
        """
        return field_maps(self.fields, self.encoder(fixed, moving, pair_ids))

    @torch.no_grad()
    def field_pair(self, fixed: Tensor, moving: Tensor) -> FieldPair:
        """Return fields of their own for one pair `(1, 1, *shape)`: free to be fitted further, or stored."""
        return self.fields_with(self.encoder(fixed, moving))

    @torch.no_grad()
    def fields_with(self, latent: LatentBatch) -> FieldPair:
        """Return fields of their own with the latent values of one pair (a batch of one)."""
        return fields_with_latent(self.fields, latent)
