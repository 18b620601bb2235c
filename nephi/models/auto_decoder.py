"""Auto-decoder: the latent values of each training pair are trained together with the decoders that all pairs share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from nephi.errors import UsageError
from nephi.fields import FieldSettings, LatentBatch, build_fields, field_size
from nephi.geometry import Grid
from nephi.models.base import ModelSettings, ModelSize, RegistrationModel
from nephi.models.composition import Steps, downsampled
from nephi.models.nephi import FieldNetwork, check_steps, latent_lattices, latent_names
from nephi.models.networks.encoder import Lattice
from nephi.settings import TrainingObjectiveSettings
from nephi.settings.validation import require_at_least
from nephi.transforms import MapPair


@dataclass(frozen=True)
class AutoDecoderSettings(ModelSettings):
    """Architecture of an auto-decoder.

    downsampling: one step for each number, as in `NephiSettings`; without an encoder the steps differ in their latent
        values only.
    pairs: training pairs, for each of which latent values are kept; 0 until the training counts them.
    field: the fields of each step, as in `NephiSettings`.
    code_spread: standard deviation of the latent values before the training: that of a fit; 1 / sqrt(channels) in
        NePhi's published code.
    """

    kind: ClassVar[str] = "auto-decoder"
    per_step: ClassVar[tuple[str, ...]] = ("downsampling",)

    downsampling: tuple[int, ...] = (1,)
    pairs: int = 0
    field: FieldSettings = FieldSettings()  # noqa: RUF009 (frozen: cannot be shared by mistake)
    code_spread: float = 0.01

    def __post_init__(self) -> None:
        check_steps(self.downsampling, self.field)
        if self.pairs < 0:
            raise UsageError(f"model.pairs: expected the number of training pairs, got {self.pairs}")
        require_at_least("model", 0, code_spread=self.code_spread)

    def with_pairs(self, count: int) -> Self:
        """Return the settings for `count` pairs; raise `UsageError` for settings that name another number."""
        if count and self.pairs not in (0, count):
            raise UsageError(
                f"model.pairs: expected {count}, the pairs of the split train, got {self.pairs}; leave it out"
            )
        return replace(self, pairs=count)


class AutoDecoder(RegistrationModel[AutoDecoderSettings]):
    """Neural fields with a table of latent values instead of an encoder (Park et al., CVPR 2019)."""

    Settings = AutoDecoderSettings
    default_objective = TrainingObjectiveSettings()
    predicts_inverse = True
    penalties = ("codes", "code_norms")

    def __init__(self, settings: AutoDecoderSettings, grid: Grid, generator: torch.Generator) -> None:
        super().__init__(settings, grid, generator)
        if not settings.pairs:
            raise UsageError("model.pairs: expected the number of training pairs for an auto-decoder, got 0")
        self.network = Steps(grid, [self._step(downsampled(grid, n), generator) for n in settings.downsampling])

    def _step(self, grid: Grid, generator: torch.Generator) -> FieldNetwork:
        settings = self.settings
        fields = build_fields(settings.field, grid, generator)
        lattices = latent_lattices(settings.field, field_size(settings.field, grid))
        table = LatentTable(settings, lattices, generator)
        return FieldNetwork(grid, fields, table)

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Return phi and its inverse with the values of `pair_ids`, without them with the means over all pairs."""
        prediction: MapPair = self.network(fixed, moving, pair_ids)
        return prediction

    def use_steps(self, count: int, frozen: int = 0) -> None:
        """Use only the first composed steps."""
        self.network.use_steps(count, frozen)

    def predicted_parameters(self) -> frozenset[str]:
        """Return the names of the latent values in the fields, which those of the tables replace."""
        return latent_names(self)

    def pair_parameters(self) -> frozenset[str]:
        """Return the names of the tables of latent values."""
        tables = {id(p) for module in self.modules() if isinstance(module, LatentTable) for p in module.parameters()}
        return frozenset(name for name, parameter in self.named_parameters() if id(parameter) in tables)

    @classmethod
    def size(cls, settings: AutoDecoderSettings, grid: Grid) -> ModelSize:
        """Compute the sizes of tables and fields; no network receives the images."""
        steps = [field_size(settings.field, downsampled(grid, n)) for n in settings.downsampling]
        return ModelSize(
            sum(step.decoders + settings.pairs * step.latent for step in steps),
            0,
            sum(step.parameters for step in steps),
            tuple(lattice for step in steps for lattice in step.all_lattices),
        )


class LatentTable(nn.Module):
    """The latent values of each of the `settings.pairs` pairs, trained together with the decoders that the pairs share.

    After DeepSDF (Park et al., CVPR 2019), as in NePhi's optimisation over a set of pairs (Tian et al., ECCV 2024). A
    pair that is not in the table gets the mean of all pairs: the starting point for a refinement of its own values.
    """

    def __init__(
        self, settings: AutoDecoderSettings, lattices: Sequence[Sequence[Lattice]], generator: torch.Generator
    ) -> None:
        super().__init__()

        def random_values(*shape: int) -> nn.Parameter:
            normal = torch.randn(settings.pairs, *shape, generator=generator, dtype=torch.float32)
            return nn.Parameter(settings.code_spread * normal)

        rows = [sum(math.prod(lattice.shape) for lattice in levels) for levels in lattices]
        self.global_codes = random_values(settings.field.global_codes)
        self.tables = nn.ParameterList(
            random_values(count, levels[0].channels) for count, levels in zip(rows, lattices, strict=True)
        )

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> LatentBatch:
        """Return the values of the pairs with the numbers `pair_ids` `(B,)`, or B times the mean over all pairs."""

        def values_of(table: Tensor) -> Tensor:
            if pair_ids is None:
                return table.mean(dim=0, keepdim=True).expand(len(fixed), *table.shape[1:])
            return table.index_select(0, pair_ids)

        return LatentBatch(values_of(self.global_codes), [values_of(table) for table in self.tables])
