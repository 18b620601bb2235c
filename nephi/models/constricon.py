"""ConstrICON: maps that are inverse consistent by construction, before any training and for any images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.models.base import ModelSettings, ModelSize, PairNetwork, RegistrationModel
from nephi.models.composition import GROUPS, Antisymmetric, Consistent, check_downsampling, downsampled
from nephi.models.networks.affine import AffineNetwork, AffineNetworkSettings, affine_network_size
from nephi.models.networks.unet import UNet, UNetSettings, every_voxel, unet_size
from nephi.settings import TrainingObjectiveSettings
from nephi.tables import short_repr
from nephi.transforms import MapPair

FLOW = "flow"


@dataclass(frozen=True)
class ConstrICONSettings(ModelSettings):
    """Architecture of ConstrICON.

    steps: the kind of each composed deformation, the first one first: "shift", "rigid" (rotations in mm), "similarity",
        "affine" or "flow" (of a stationary velocity field). Each but the last is applied twice.
    downsampling: one number n for each step, or one for all; the network of a step receives every n-th voxel of the
        images along each axis. At 1, as published, the velocity fields have the resolution of the images, and a
        training takes several times as long.
    unet: the U-Net of each flow.
    affine: the network of each other step.
    """

    kind: ClassVar[str] = "constricon"

    steps: tuple[str, ...] = ("affine", "affine", FLOW, FLOW)
    downsampling: tuple[int, ...] = (2,)
    unet: UNetSettings = UNetSettings()  # noqa: RUF009 (frozen: cannot be shared by mistake)
    affine: AffineNetworkSettings = AffineNetworkSettings()  # noqa: RUF009

    def __post_init__(self) -> None:
        check_downsampling(self.downsampling)
        if not self.steps or not set(self.steps) <= set(GROUPS):
            raise UsageError(
                f"model.steps: expected at least one of {', '.join(GROUPS)}, got {short_repr(tuple(self.steps))}"
            )
        if len(self.downsampling) not in (1, len(self.steps)):
            raise UsageError(
                f"model.downsampling: expected one number, or {len(self.steps)}, one for each of model.steps, got "
                f"{short_repr(tuple(self.downsampling))}"
            )
        check_downsampling(self.downsampling_of_steps)

    @property
    def step_count(self) -> int:
        """Number of `steps`. A shorter model is not a part of a longer one, see `Consistent`, so none is per step."""
        return len(self.steps)

    @property
    def downsampling_of_steps(self) -> tuple[int, ...]:
        """The downsampling of each step."""
        return self.downsampling if len(self.downsampling) > 1 else self.downsampling * len(self.steps)


class ConstrICON(RegistrationModel[ConstrICONSettings]):
    """ConstrICON (Greer et al., MICCAI 2023): steps `exp(N[A, B] - N[B, A])`, composed as in `Consistent`.

    The inverse is that of phi to rounding for steps of matrices, and to the error of integration for flows (below
    1e-4 voxel in the mean, unless a velocity needs more than `MOST_STEPS` of `nephi.transforms.velocity`), whatever the
    weights, so that no term of the objective is needed for it. The similarity is
    the mean over both directions; the paper's is that of one direction, doubled.
    """

    Settings = ConstrICONSettings
    # The published loss is 2 sim + lambda sum_k (1/D) E|dv_k/dx|_F^2: one direction doubled, mean squares over the
    # components of each step's velocity v_k, in boxes of unit edges, where derivatives are those in mm per mm if the
    # box is a cube. Here the similarity counts once, and the penalty is the mean over the m flows: velocity =
    # lambda m / (2 D). With m = 2, lambda = 5 (knees, brains) is 1.67 in 3-D and 2.5 in 2-D, lambda = 0.5 (lungs) a
    # tenth of these.
    default_objective = TrainingObjectiveSettings(gradicon=0.0, codes=0.0, velocity=1.5)
    predicts_inverse = True
    penalties = ("velocity",)

    def __init__(self, settings: ConstrICONSettings, grid: Grid, generator: torch.Generator) -> None:
        super().__init__(settings, grid, generator)
        pairs = zip(settings.steps, settings.downsampling_of_steps, strict=True)
        self.network = Consistent(grid, [self._step(kind, downsampled(grid, n), generator) for kind, n in pairs])

    def _step(self, kind: str, grid: Grid, generator: torch.Generator) -> PairNetwork:
        if kind == FLOW:
            # A bias of the last layer would cancel in the difference of the two predictions.
            return Antisymmetric(UNet(self.settings.unet, grid, generator, bias=False), kind)
        return Antisymmetric(AffineNetwork(self.settings.affine, grid, generator), kind)

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict phi, its inverse, and the penalty `velocity`, the mean over the flows; that of matrices is 0."""
        prediction: MapPair = self.network(fixed, moving, pair_ids)
        if "velocity" in prediction.penalties:
            return prediction
        return prediction._replace(penalties={"velocity": fixed.new_zeros(())})

    def use_steps(self, count: int, frozen: int = 0) -> None:
        """Use only the first composed steps, each of them applied twice as long as one after it is left out."""
        self.network.use_steps(count, frozen)

    @classmethod
    def size(cls, settings: ConstrICONSettings, grid: Grid) -> ModelSize:
        """Compute the sizes of the networks, in which both directions are predicted at once."""
        parameters, activations, numbers = [], [], []
        for kind, n in zip(settings.steps, settings.downsampling_of_steps, strict=True):
            step_grid = downsampled(grid, n)
            if kind == FLOW:
                sizes = unet_size(settings.unet, step_grid, bias=False)
                numbers.append(every_voxel(step_grid, settings.unet.finest).size * grid.dimension)
            else:
                sizes = affine_network_size(settings.affine, step_grid)
                numbers.append(grid.dimension * (grid.dimension + 1))
            parameters.append(sizes[0])
            activations.append(2 * sizes[1])
        return ModelSize(sum(parameters), max(activations), sum(numbers))
