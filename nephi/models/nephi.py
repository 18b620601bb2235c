"""NePhi: an encoder predicts the latent values of neural fields, whose decoders all pairs share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from nephi.errors import UsageError
from nephi.fields import (
    FieldPair,
    FieldSettings,
    FieldSize,
    build_fields,
    field_maps,
    field_size,
    latent_parameters,
)
from nephi.geometry import Grid
from nephi.models.base import ModelSettings, ModelSize, PairNetwork, RegistrationModel
from nephi.models.composition import Steps, check_downsampling, downsampled
from nephi.models.networks.encoder import EncoderSettings, Lattice, PairEncoder, encoder_size
from nephi.settings import TrainingObjectiveSettings
from nephi.transforms import MapPair


@dataclass(frozen=True)
class NephiSettings(ModelSettings):
    """Architecture of NePhi.

    downsampling: one number n for each composed deformation (step), the first one first; the encoder of a step receives
        every n-th voxel of the images along each axis.
    field: the fields of each step; an inverse, and at least one of global codes, local codes and dense grids.
    encoder: the network that predicts their latent values.
    """

    kind: ClassVar[str] = "nephi"
    per_step: ClassVar[tuple[str, ...]] = ("downsampling",)

    downsampling: tuple[int, ...] = (1,)
    field: FieldSettings = FieldSettings()  # noqa: RUF009 (frozen: cannot be shared by mistake)
    encoder: EncoderSettings = EncoderSettings()  # noqa: RUF009

    def __post_init__(self) -> None:
        check_steps(self.downsampling, self.field)


class NephiModel(RegistrationModel[NephiSettings]):
    """NePhi's amortised registration (Tian et al., ECCV 2024), in one or several steps."""

    Settings = NephiSettings
    default_objective = TrainingObjectiveSettings()
    predicts_inverse = True
    penalties = ("codes", "code_norms")

    def __init__(self, settings: NephiSettings, grid: Grid, generator: torch.Generator) -> None:
        super().__init__(settings, grid, generator)
        self.network = Steps(grid, [self._step(downsampled(grid, n), generator) for n in settings.downsampling])

    def _step(self, grid: Grid, generator: torch.Generator) -> FieldNetwork:
        field = self.settings.field
        fields = build_fields(field, grid, generator)
        lattices = latent_lattices(field, field_size(field, grid))
        encoder = PairEncoder(self.settings.encoder, grid.shape, field.global_codes, lattices, generator)
        return FieldNetwork(grid, fields, encoder)

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict phi and its inverse, and the penalties of the latent values."""
        prediction: MapPair = self.network(fixed, moving, pair_ids)
        return prediction

    def use_steps(self, count: int, frozen: int = 0) -> None:
        """Use only the first composed steps."""
        self.network.use_steps(count, frozen)

    def predicted_parameters(self) -> frozenset[str]:
        """Return the names of the fields' latent values."""
        return latent_names(self)

    @classmethod
    def size(cls, settings: NephiSettings, grid: Grid) -> ModelSize:
        """Compute the sizes of encoders and fields."""
        field, grids = settings.field, [downsampled(grid, n) for n in settings.downsampling]
        steps = [field_size(field, each) for each in grids]
        encoders = [
            encoder_size(settings.encoder, each.shape, field.global_codes, latent_lattices(field, step))
            for each, step in zip(grids, steps, strict=True)
        ]
        return ModelSize(
            sum(step.decoders for step in steps) + sum(parameters for parameters, _ in encoders),
            max(activations for _, activations in encoders),
            sum(step.parameters for step in steps),
            tuple(lattice for step in steps for lattice in step.all_lattices),
        )


class FieldNetwork(PairNetwork):
    """A pair of neural fields for each pair of images: `fields` with the latent values that `encoder` returns.

    `encoder` has the arguments of `forward` and returns a `LatentBatch`: predicted from the images, or kept in a table.
    The decoders of `fields` are shared by all pairs and trained.
    """

    def __init__(self, grid: Grid, fields: FieldPair, encoder: nn.Module) -> None:
        super().__init__()
        self.grid = grid
        self.fields = fields
        self.encoder = encoder
        for parameter in latent_parameters(fields):
            parameter.requires_grad_(False)  # replaced by what the encoder returns

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict phi and its inverse, and the penalties of the latent values."""
        return field_maps(self.fields, self.encoder(fixed, moving, pair_ids))


def check_steps(downsampling: Sequence[int], field: FieldSettings) -> None:
    """Raise `UsageError` for steps, or fields without latent values or an inverse, that a model cannot predict."""
    check_downsampling(downsampling)
    if field.encoding == "hash":
        raise UsageError('field.encoding: expected "dense", as a model cannot predict hash grids, got "hash"')
    if not field.inverse:
        raise UsageError("field.inverse: expected true, as a model predicts both directions, got false")
    if not (field.global_codes or field.local_codes or field.encoding in ("dense", "nested")):
        raise UsageError("field: expected global_codes, local_codes or dense grids, which a model predicts, got none")


def latent_lattices(settings: FieldSettings, size: FieldSize) -> list[list[Lattice]]:
    """Return the levels of each of the latent grids in a pair of fields, in the order of `latent_grids`."""
    codes = [Lattice(size.code_lattice, settings.local_codes, settings.degree)] if size.code_lattice else []
    levels = [Lattice(shape, settings.channels, settings.degree) for shape in size.lattices]
    return [grids for grids in (codes, levels, levels) if grids]  # phi and its inverse share the codes


def latent_names(model: nn.Module) -> frozenset[str]:
    """Return the names, in the state of `model`, of the latent values of all its `FieldPair`s."""
    pairs = [module for module in model.modules() if isinstance(module, FieldPair)]
    latent = {id(parameter) for pair in pairs for parameter in latent_parameters(pair)}
    # Both fields of a pair list the codes that they share.
    named = model.named_parameters(remove_duplicate=False)
    return frozenset(name for name, parameter in named if id(parameter) in latent)
