"""NePhi's amortized use: an encoder predicts the latent codes, two shared networks decode them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nephi.errors import UsageError
from nephi.fields import FieldBatch, FieldPair, FieldSettings, build_fields
from nephi.geometry import Grid
from nephi.learning.encoder import EncoderSettings, PairEncoder


class NephiNetwork(nn.Module):
    """Predict phi and its inverse for pairs of images on one grid (NePhi; Tian et al., ECCV 2024).

    The fields are those of instance optimisation, `build_fields(settings, grid, ...)`; only their codes are predicted.
    `settings` need global or local codes, and an
    inverse. Raises `UsageError` where they have none.
    """

    def __init__(
        self, settings: FieldSettings, encoder: EncoderSettings, grid: Grid, generator: torch.Generator
    ) -> None:
        super().__init__()
        if not (settings.inverse and settings.global_codes + settings.local_codes):
            raise UsageError("field: an encoder needs an inverse, and global_codes or local_codes, to predict")
        self.grid = grid
        self.fields: FieldPair = build_fields(settings, grid, generator)
        codes = self.fields.codes
        assert codes is not None
        codes.requires_grad_(False)  # predicted, not trained
        lattice = codes.local.shapes[0] if codes.local else (1,) * grid.dimension
        self.encoder = PairEncoder(encoder, lattice, settings.global_codes, settings.local_codes, generator)

    def forward(self, fixed: Tensor, moving: Tensor) -> tuple[FieldBatch, FieldBatch]:
        """Return phi (fixed to moving points) and its inverse for images `(B, 1, *shape)`; points are world mm."""
        assert self.fields.codes is not None and self.fields.inverse_field is not None
        codes = self.fields.codes.with_values(*self.encoder(fixed, moving))
        return self.fields.forward_field.of_codes(codes), self.fields.inverse_field.of_codes(codes)
