"""The model of GradICON, uniGradICON and multiGradICON as it was published, for their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.models.base import ModelSettings, ModelSize, RegistrationModel
from nephi.models.composition import ComposedSteps, downsampled
from nephi.models.networks.blocks import MOST_RESOLUTIONS, halved
from nephi.models.published.axes import array_grid, array_images, array_shape, check_axes
from nephi.models.published.tall_unet import TallUNet, tall_unet_bytes, tall_unet_parameters
from nephi.settings import TrainingObjectiveSettings
from nephi.tables import short_repr
from nephi.transforms import ComposedMaps, DisplacementMaps, MapPair, Maps


@dataclass(frozen=True)
class TallUNetSettings(ModelSettings):
    """Architecture of the published networks; the defaults are those of uniGradICON.

    steps: how many times the images of each step are halved, the first step first.
    down, up: channels of each step's network, as `TallUNet`.
    axes: `itk` or `canonical`: the order and direction of the network's array axes, see `array_grid`.
    """

    kind: ClassVar[str] = "tall-unet"
    per_step: ClassVar[tuple[str, ...]] = ("steps",)

    steps: tuple[int, ...] = (2, 1, 0, 0)
    down: tuple[int, ...] = (16, 32, 64, 256, 512)
    up: tuple[int, ...] = (16, 32, 64, 128, 256)
    axes: str = "itk"

    def __post_init__(self) -> None:
        check_axes(self.axes)
        if not 1 <= len(self.steps) <= MOST_RESOLUTIONS or not all(0 <= n < MOST_RESOLUTIONS for n in self.steps):
            raise UsageError(
                f"model.steps: expected 1 to {MOST_RESOLUTIONS} numbers of halvings, 0 to {MOST_RESOLUTIONS - 1}, got "
                f"{short_repr(self.steps)}"
            )
        for name, channels in (("down", self.down), ("up", self.up)):
            if not 1 <= len(channels) <= MOST_RESOLUTIONS or min(channels) < 1 or len(channels) != len(self.down):
                raise UsageError(
                    f"model.{name}: expected at least one positive integer, at most {MOST_RESOLUTIONS}, as many for "
                    f"down as for up, got {short_repr(channels)}"
                )


class TallUNetSteps(ComposedSteps):
    """U-Nets one after the other, on images averaged over pairs of voxels; `phi = phi_1(phi_2(...))`, one way.

    The operators TwoStep and Downsample of the published code. Other than in `Steps`, both images are averaged over
    2^D voxels again and again without regard to positions, and a step's displacements belong to lattices whose
    outermost centres are those of the images; the moving image is warped by the maps themselves.
    """

    def __init__(self, settings: TallUNetSettings, grid: Grid) -> None:
        super().__init__(grid, [TallUNet(grid.dimension, settings.down, settings.up) for _ in settings.steps])
        self.halvings = settings.steps
        self.lattices = [lattice(grid, halvings) for halvings in settings.steps]

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict phi for images on `grid`."""
        displacements: list[Tensor] = []  # of the steps, the last one first, in fractions of the box
        members: list[Maps] = []
        for step, halvings, nodes in zip(self.steps[: self.used], self.halvings, self.lattices, strict=False):
            seen, target = averaged_pairs(moving, halvings), averaged_pairs(fixed, halvings)
            if displacements:
                seen = warped(seen, displacements)
            fractions = step(torch.cat([seen, target], dim=1))
            edges = nodes.affine[:-1, :-1] * (torch.tensor(nodes.shape, dtype=torch.float64) - 1)  # of the box, mm
            displacements.insert(0, fractions)
            members.insert(0, DisplacementMaps(torch.einsum("ij,bj...->bi...", edges.to(fractions), fractions), nodes))
        return MapPair(ComposedMaps(members))


class PublishedTallUNet(RegistrationModel[TallUNetSettings]):
    """GradICON's network of three or four U-Nets (Tian et al., CVPR 2023), uniGradICON's (Tian et al., MICCAI 2024).

    As published: phi is the prediction for the images, the inverse that for the images exchanged. The statistics of
    normalisation layers stay as they are stored. Both directions are computed one after the other, in half the memory.
    """

    Settings = TallUNetSettings
    default_objective = TrainingObjectiveSettings(gradicon=0.25, codes=0.0, background_points=512)
    predicts_inverse = True

    def __init__(self, settings: TallUNetSettings, grid: Grid, generator: torch.Generator) -> None:
        super().__init__(settings, grid, generator)
        self.network = TallUNetSteps(settings, array_grid(grid, settings.axes))
        for step in self.network.steps:
            assert isinstance(step, TallUNet)
            step.initialise(generator)

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict phi and its inverse."""
        fixed, moving = (array_images(images, self.settings.axes) for images in (fixed, moving))
        return MapPair(self.network(fixed, moving).forward, self.network(moving, fixed).forward)

    def use_steps(self, count: int, frozen: int = 0) -> None:
        """Use only the first composed steps."""
        self.network.use_steps(count, frozen)

    @classmethod
    def size(cls, settings: TallUNetSettings, grid: Grid) -> ModelSize:
        """Compute the sizes of all steps, and of the displacements of both directions.

        Raises `UsageError` for images of too few voxels.
        """
        fewest = 2 ** (max(settings.steps) + len(settings.down) - 1) + 1  # so that every average is over 2 voxels
        if min(grid.shape) < fewest:
            raise UsageError(
                f"input.shape: expected at least {fewest} voxels along each axis for model.steps and model.down, got "
                f"{grid.shape}"
            )
        parameters = len(settings.steps) * tall_unet_parameters(grid.dimension, settings.down, settings.up)
        values = sum(lattice(grid, halvings).size for halvings in settings.steps) * grid.dimension
        shape = halved(array_shape(grid.shape, settings.axes), min(settings.steps))
        return ModelSize(parameters, tall_unet_bytes(shape, settings.up) + 4 * 2 * values, 2 * values)


def lattice(grid: Grid, halvings: int) -> Grid:
    """Return the nodes of a step: as many as averaged voxels, the first and the last where those of `grid` are."""
    return downsampled(grid, 2**halvings)


def warped(images: Tensor, displacements: Sequence[Tensor]) -> Tensor:
    """Return images `(B, 1, *shape)` at the places to which the displacements move their voxel centres.

    `displacements` `(B, D, ...)` are applied one after the other, in fractions of the box from the first to the last
    centre of any lattice over it; images and displacements continue beyond the box with their values at its border.
    """
    axes = [torch.linspace(0, 1, n, dtype=images.dtype, device=images.device) for n in images.shape[2:]]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(len(images), -1, *images.shape[2:])
    for displacement in displacements:
        places = places + _sampled(displacement, places)
    return _sampled(images, places)


def _sampled(images: Tensor, places: Tensor) -> Tensor:
    # torch's order of coordinates is the reverse of that of the axes, and the box is -1 to 1.
    places = 2 * places.movedim(1, -1).flip(-1) - 1
    return nn.functional.grid_sample(images, places, mode="bilinear", padding_mode="border", align_corners=True)


def averaged_pairs(images: Tensor, times: int) -> Tensor:
    """Return images `(B, 1, *shape)` averaged `times` times over 2 voxels along each axis, 1 at an odd end."""
    pool = nn.functional.avg_pool2d if images.ndim == 4 else nn.functional.avg_pool3d
    for _ in range(times):
        images = pool(images, 2, ceil_mode=True)
    return images
