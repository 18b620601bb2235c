"""CARL: coordinate attention, which follows shifts of either image, and U-Nets for what it leaves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.models.base import ModelSettings, ModelSize, PairNetwork, RegistrationModel
from nephi.models.composition import (
    Augmented,
    Steps,
    Swapped,
    check_downsampling,
    downsampled,
    random_rotations,
    strided,
)
from nephi.models.displacement_unet import DisplacementNetwork
from nephi.models.networks.features import FeatureNetwork, FeatureSettings, near_foreground, padded
from nephi.models.networks.invariant_features import InvariantFeatureNetwork
from nephi.models.networks.unet import UNetSettings
from nephi.settings import TrainingObjectiveSettings
from nephi.transforms import AttentionMaps, MapPair, rigid_fit

FIT_POINTS = 4096  # lattice points at most to which a rotation is fitted


@dataclass(frozen=True)
class CARLSettings(ModelSettings):
    """Architecture of CARL.

    downsampling: one number n for each composed deformation (step); the first step, coordinate attention, receives
        every n-th voxel of the images along each axis, the U-Net of each further step likewise.
    features: the network whose features are compared by attention.
    unet: the U-Net of each further step.
    rotations: above 0, the attention is that of `TurnedAttentionNetwork`, and each image is turned at random by up to
        so many degrees inside of each prediction of a training, at most 180.
    """

    kind: ClassVar[str] = "carl"
    per_step: ClassVar[tuple[str, ...]] = ("downsampling",)

    downsampling: tuple[int, ...] = (4, 2, 1)
    features: FeatureSettings = FeatureSettings()  # noqa: RUF009 (frozen: cannot be shared by mistake)
    unet: UNetSettings = UNetSettings()  # noqa: RUF009
    rotations: float = 0.0

    def __post_init__(self) -> None:
        check_downsampling(self.downsampling)
        if not 0 <= self.rotations <= 180:
            raise UsageError(f"model.rotations: expected 0 to 180 degrees, got {self.rotations}")


class CARL(RegistrationModel[CARLSettings]):
    """CARL (Greer et al., CVPR 2025): `phi[A o W, B o U] = W^-1 o phi[A, B] o U` for shifts W, U of the two images.

    As attention has this property and U-Nets follow shifts of both images together, so has their composition; exactly
    for shifts by whole voxels of the attention while the U-Nets predict no displacement, approximately once they are
    trained.

    For the same reason an untrained model is not the identity: a map that follows the shift of one image cannot ignore
    it. Random features match already, coarsely; a first phase of the training with the term `diffusion` instead of
    `gradicon` makes the attention local.
    """

    Settings = CARLSettings
    # CARL's losses are 2 sim + lambda mean_c |du|^2 for the first 1,500 steps, then GradICON's, both with lambda = 1.5,
    # mean_c a mean over voxels and components. In terms of means over both directions and sums over components the
    # weights are lambda / (2 D): 0.25 in 3-D and 0.375 in 2-D, see GradICON.
    default_objective = TrainingObjectiveSettings(codes=0.0, gradicon=0.3, diffusion=0.03, background_points=512)
    predicts_inverse = True
    starts_as_identity = False

    def __init__(self, settings: CARLSettings, grid: Grid, generator: torch.Generator) -> None:
        super().__init__(settings, grid, generator)
        first, *others = settings.downsampling
        rotations = settings.rotations
        attention = _attention(settings)(settings.features, strided(grid, first), generator)
        unets = [DisplacementNetwork(settings.unet, downsampled(grid, n), generator) for n in others]
        self.network = Swapped(Augmented(Steps(grid, [attention, *unets]), partial(random_rotations, grid, rotations)))

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict phi and its approximate inverse; images that are bright outside are inverted: 0 is background."""
        if self.outside:
            fixed, moving = self.outside - fixed, self.outside - moving
        prediction: MapPair = self.network(fixed, moving, pair_ids)
        return prediction

    def use_steps(self, count: int, frozen: int = 0) -> None:
        """Use only the first composed steps."""
        self.network.use_steps(count, frozen)

    def use_generators(self, generators: Sequence[torch.Generator]) -> None:
        """Take the random rotations of each pair from its generator."""
        augmented = self.network.network  # no attribute of its own: weights of two names cannot be stored
        assert isinstance(augmented, Augmented)
        augmented.generators = tuple(generators) if self.settings.rotations else ()

    @classmethod
    def size(cls, settings: CARLSettings, grid: Grid) -> ModelSize:
        """Compute the sizes of the networks, in which both directions are predicted at once."""
        first, *others = settings.downsampling
        sizes = [_attention(settings).size(settings.features, strided(grid, first))]
        sizes += [DisplacementNetwork.size(settings.unet, downsampled(grid, n)) for n in others]
        return ModelSize(
            sum(size.parameters for size in sizes),
            2 * max(size.activation_bytes for size in sizes),
            2 * sum(size.transform_parameters for size in sizes),
        )


class AttentionNetwork(PairNetwork):
    """Coordinate attention: a point is mapped to the mean position of the moving image's matching features.

    Features of both images are computed by one network on `grid` with `padding` further voxels on every side. Keys are
    the features within `padding` voxels of the moving image's foreground. The map compares features within the box
    around the same surroundings of the fixed image's foreground; beyond it the displacement continues. Foreground is
    what is brighter than 1 % of the range of intensities; where one of the images has none, the map is a translation.
    """

    network: ClassVar[type[FeatureNetwork] | type[InvariantFeatureNetwork]] = FeatureNetwork

    def __init__(self, settings: FeatureSettings, grid: Grid, generator: torch.Generator) -> None:
        super().__init__()
        self.grid = grid
        self.padding = settings.padding
        self.padded_grid = padded(grid, settings.padding)
        self.features = self.network(settings, self.padded_grid, generator)

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict phi."""
        images = nn.functional.pad(torch.cat([fixed, moving]), [self.padding] * (2 * self.grid.dimension))
        near = near_foreground(images, self.padding)
        of_fixed, of_moving = self.features(images, near).chunk(2)
        near_moving = near[len(fixed) :, 0].bool()
        bounds = _compared_bounds(self._compared(images[: len(fixed)])[:, 0].bool(), near_moving)
        maps = AttentionMaps(of_fixed, self.padded_grid, of_moving, self.padded_grid, near_moving, bounds)
        return MapPair(self._continued(maps, images[: len(fixed)]))

    @classmethod
    def size(cls, settings: FeatureSettings, grid: Grid) -> ModelSize:
        """Compute the sizes of the network, and of features, keys and positions of one pair."""
        lattice = padded(grid, settings.padding)
        parameters, activations = cls.network.size(settings, lattice)
        return ModelSize(parameters, activations, (2 * settings.channels + grid.dimension) * lattice.size)

    def _compared(self, fixed: Tensor) -> Tensor:
        """Return the voxels of padded images around which features are compared, as `near_foreground`."""
        return near_foreground(fixed, self.padding)

    def _continued(self, maps: AttentionMaps, fixed: Tensor) -> AttentionMaps:
        """Return the maps as they continue beyond what is compared: with the displacement there."""
        return maps


class TurnedAttentionNetwork(AttentionNetwork):
    """Coordinate attention by features that turn with the images, see `InvariantFeatureNetwork`.

    Features are compared within a third of `padding` around the foreground of the fixed image, so that the places to
    which a rotation moves the corners of this box have keys. Beyond it the map continues with the rotation that is
    closest to the attention on the foreground: a displacement that went on as it is would lead back into a body that
    is turned by more than a quarter. Where one image has no foreground, the map is a translation.
    """

    network = InvariantFeatureNetwork

    def _compared(self, fixed: Tensor) -> Tensor:
        return near_foreground(fixed, self.padding // 3)

    def _continued(self, maps: AttentionMaps, fixed: Tensor) -> AttentionMaps:
        rotations = self._rotations(maps, fixed)
        return AttentionMaps(maps.features, maps.grid, maps.keys, maps.key_grid, maps.present, maps.bounds, rotations)

    @torch.no_grad()
    def _rotations(self, maps: AttentionMaps, fixed: Tensor) -> Tensor:
        """Return the rotations `(B, D, D)` that are closest to the maps on the foreground of the padded images."""
        every = max(1, math.ceil((self.padded_grid.size / FIT_POINTS) ** (1 / self.grid.dimension)))
        axes = [torch.arange(0, n, every, dtype=torch.float64) for n in self.padded_grid.shape]
        centres = self.padded_grid.voxel_to_world_points(torch.cartesian_prod(*axes)).to(fixed)
        points = centres.expand(len(fixed), -1, -1)
        has_keys = maps.present.flatten(1).any(dim=1)[:, None]
        chosen = (slice(None), slice(None), *[slice(None, None, every)] * self.grid.dimension)
        weights = near_foreground(fixed, 0)[chosen].flatten(1) * has_keys
        return rigid_fit(points, maps(points), weights).matrices.to(fixed)


def _attention(settings: CARLSettings) -> type[AttentionNetwork]:
    return TurnedAttentionNetwork if settings.rotations else AttentionNetwork


def _compared_bounds(near_fixed: Tensor, near_moving: Tensor) -> Tensor:
    """Return lowest and highest voxel `(B, 2, D)` of the box around the first mask; its centre without foreground."""
    bounds = []
    for axis, count in enumerate(near_fixed.shape[1:]):
        along = near_fixed.movedim(axis + 1, -1).flatten(1, -2).any(dim=1)
        voxels = torch.arange(count, dtype=torch.float32, device=along.device)
        low = torch.where(along, voxels, count - 1).amin(dim=1)
        high = torch.where(along, voxels, 0).amax(dim=1)
        centre = (low + high) / 2  # that of the grid, if no voxel is near
        comparable = along.any(dim=1) & near_moving.flatten(1).any(dim=1)
        bounds.append(torch.stack([torch.where(comparable, end, centre) for end in (low, high)], dim=-1))
    return torch.stack(bounds, dim=-1)
