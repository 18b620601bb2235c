"""What can be trained: each system takes pairs of images to deformations and knows its own loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nephi.errors import UsageError
from nephi.fields import FieldSettings
from nephi.geometry import Grid
from nephi.models.displacement_objective import displacement_terms
from nephi.models.encoder import EncoderSettings
from nephi.models.nephi_network import NephiNetwork
from nephi.models.objectives import FieldObjective, PairBatch
from nephi.models.steps import NephiSteps
from nephi.models.unet import DisplacementUNet, UNetSettings
from nephi.settings import TrainingObjectiveSettings
from nephi.transforms import DisplacementMaps, MapPair

SYSTEMS = ("nephi", "auto-decoder", "unet")


@dataclass(frozen=True)
class ModelSettings:
    """What a network is made of.

    system: `nephi` (an encoder predicts the latent values of neural fields), `auto-decoder` (they are trained
        themselves, one set for each of `pairs` pairs; another pair starts from their mean) or `unet` (a displacement
        for every voxel).
    thinning: one step for each number: it sees every n-th voxel along each axis, the first step first.
    """

    system: str = "nephi"
    thinning: tuple[int, ...] = (1,)
    pairs: int = 0
    field: FieldSettings = FieldSettings()  # noqa: RUF009 (frozen: cannot be shared by mistake)
    encoder: EncoderSettings = EncoderSettings()  # noqa: RUF009
    unet: UNetSettings = UNetSettings()  # noqa: RUF009

    def __post_init__(self) -> None:
        if self.system not in SYSTEMS:
            raise UsageError(f"system: expected one of {', '.join(SYSTEMS)}, got {self.system!r}")
        if self.pairs < 0 or (self.pairs and self.system != "auto-decoder"):
            raise UsageError(
                f"pairs: expected the number of training pairs for an auto-decoder, else 0, got {self.pairs}"
            )
        if not self.thinning or min(self.thinning) < 1:
            raise UsageError(f"thinning: expected whole numbers of 1 or more, one a step, got {self.thinning}")


class System(nn.Module, ABC):
    """A trainable registration of images `(B, 1, *shape)`, fixed and moving on one `grid`, values from 0 to 1."""

    grid: Grid

    @abstractmethod
    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Return phi (fixed to moving points) and, where it is predicted, its inverse; points `(B, N, D)`, world mm.

        `pair_ids` `(B,)` are the numbers of training pairs, by which an auto-decoder finds their latent values.
        """

    @abstractmethod
    def terms(
        self, batch: PairBatch, settings: TrainingObjectiveSettings, generators: Sequence[torch.Generator]
    ) -> dict[str, Tensor]:
        """Return the weighted terms of the loss, means over the pairs; `generators` has one for each pair."""


class NephiSystem(System):
    """`NephiSteps` with NePhi's loss."""

    def __init__(self, settings: ModelSettings, grid: Grid, generator: torch.Generator) -> None:
        super().__init__()
        self.grid = grid
        grids = [_thinned(grid, step) for step in settings.thinning]
        self.network = NephiSteps(
            grid, [NephiNetwork(settings.field, settings.encoder, each, generator, settings.pairs) for each in grids]
        )

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Return phi and its inverse, and the penalty `codes`."""
        prediction: MapPair = self.network(fixed, moving, pair_ids)
        return prediction

    def terms(
        self, batch: PairBatch, settings: TrainingObjectiveSettings, generators: Sequence[torch.Generator]
    ) -> dict[str, Tensor]:
        """Return similarity, gradicon and codes."""
        prediction = self(batch.fixed, batch.moving, batch.pair_ids)
        with torch.autocast(batch.fixed.device.type, enabled=False):  # mixed precision is for networks
            return FieldObjective(self.grid, batch, settings, generators).terms(prediction)


class UNetSystem(System):
    """`DisplacementUNet` with similarity and diffusion over all voxels."""

    def __init__(self, settings: ModelSettings, grid: Grid, generator: torch.Generator) -> None:
        super().__init__()
        self.grid = grid
        self.network = DisplacementUNet(settings.unet, grid, generator)

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Return phi; no inverse is predicted."""
        return MapPair(DisplacementMaps(self.network(fixed, moving).to(fixed.dtype), self.grid))

    def terms(
        self, batch: PairBatch, settings: TrainingObjectiveSettings, generators: Sequence[torch.Generator]
    ) -> dict[str, Tensor]:
        """Return similarity and diffusion."""
        prediction = self(batch.fixed, batch.moving)
        with torch.autocast(batch.fixed.device.type, enabled=False):
            return displacement_terms(prediction.forward, batch, settings)


def build_system(settings: ModelSettings, grid: Grid, generator: torch.Generator) -> System:
    """Return an untrained system for images on `grid`; it predicts the identity.

    Raises `UsageError` for an auto-decoder without a number of pairs, and as `NephiNetwork`.
    """
    if settings.system == "auto-decoder" and not settings.pairs:
        raise UsageError("pairs: expected the number of training pairs for an auto-decoder, got 0")
    kind = UNetSystem if settings.system == "unet" else NephiSystem
    return kind(settings, grid, generator)


def _thinned(grid: Grid, step: int) -> Grid:
    """Return a grid of about every `step`-th voxel along each axis, its outermost centres where they were."""
    shape = tuple(max(2, -(-n // step)) for n in grid.shape)
    scale = [(n - 1) / (m - 1) for n, m in zip(grid.shape, shape, strict=True)]
    return Grid(shape, grid.affine @ torch.diag(torch.tensor([*scale, 1.0], dtype=torch.float64)))
