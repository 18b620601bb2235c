"""Several networks one after the other: each sees what those before it have left."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nephi.fields import FieldPair, field_maps
from nephi.geometry import Grid, interpolate_batch
from nephi.models.nephi_network import NephiNetwork
from nephi.transforms import ComposedMaps, MapPair, Maps, mean_penalties


def blurred(images: Tensor, coarse: Grid, fine: Grid) -> Tensor:
    """Return images `(B, 1, *shape)` averaged over about a voxel of the `coarse` grid, on the `fine` one.

    Thinned without it, what is finer than the coarse grid turns into other patterns (aliasing).
    """
    widths = [2 * round(n / (2 * m)) + 1 for n, m in zip(fine.shape, coarse.shape, strict=True)]  # odd: nothing moves
    pool = nn.functional.avg_pool2d if fine.dimension == 2 else nn.functional.avg_pool3d
    for axis, width in enumerate(widths):  # one after the other: 15 voxels instead of 125 for a width of 5
        along = [width if each == axis else 1 for each in range(fine.dimension)]
        images = pool(images, along, stride=1, padding=[w // 2 for w in along], count_include_pad=False)
    return images


class NephiSteps(nn.Module):
    """Step after step, each network sees the moving image warped by those before it.

    As TwoStep of GradICON (Tian et al., CVPR 2023): `phi(x) = phi_1(phi_2(x))`, with phi_2 predicted from `A o phi_1`
    and B. Nothing but images is resampled, and these on the grid of the step; the deformation is the chain of those of
    the steps, asked at any point. `grid` is that of the images; those of the steps cover its box, and coarser ones see
    the images thinned.
    """

    def __init__(self, grid: Grid, steps: Sequence[NephiNetwork]) -> None:
        super().__init__()
        self.grid = grid
        self.steps = nn.ModuleList(steps)

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Return phi (fixed to moving points, world mm) and its inverse for images `(B, 1, *shape)` on `grid`.

        `pair_ids` as in `NephiNetwork`. Each penalty is the mean over the steps.
        """
        forward: list[Maps] = []
        predictions: list[MapPair] = []
        for network in self._networks():
            predictions.append(network(*self._seen(network, fixed, moving, ComposedMaps(forward)), pair_ids))
            forward.insert(0, predictions[-1].forward)
        backward = [prediction.inverse for prediction in predictions if prediction.inverse is not None]
        penalties = mean_penalties([prediction.penalties for prediction in predictions])
        return MapPair(ComposedMaps(forward), ComposedMaps(backward), penalties)

    def field_pairs(self, fixed: Tensor, moving: Tensor) -> list[FieldPair]:
        """Return fields of their own for one pair `(1, 1, *shape)`, as they are applied: the last step first."""
        forward: list[Maps] = []
        pairs: list[FieldPair] = []
        for network in self._networks():
            latent = network.encoder(*self._seen(network, fixed, moving, ComposedMaps(forward)))
            forward.insert(0, field_maps(network.fields, latent).forward)
            pairs.insert(0, network.fields_with(latent))
        return pairs

    def _seen(
        self, network: NephiNetwork, fixed: Tensor, moving: Tensor, before: ComposedMaps
    ) -> tuple[Tensor, Tensor]:
        """Return what a step sees: the fixed image, and the moving one warped by the steps before, on its grid."""
        same = network.grid.same_as(self.grid)
        if same and not before.members:
            return fixed, moving
        if not same:
            fixed, moving = (blurred(image, network.grid, self.grid) for image in (fixed, moving))
        points = network.grid.voxel_centres().to(fixed)
        points = points.reshape(1, -1, points.shape[-1]).expand(len(fixed), -1, -1)
        shape = (len(fixed), 1, *network.grid.shape)
        if not same:
            fixed = interpolate_batch(fixed, self.grid, points).reshape(shape)
        moved = points + self._displacement(before, network.grid, points)
        return fixed, interpolate_batch(moving, self.grid, moved).reshape(shape)

    def _displacement(self, before: ComposedMaps, grid: Grid, points: Tensor) -> Tensor:
        """Return how far the steps before move the centres of `grid`, for the picture that its step is shown.

        They are asked where the coarsest of them sees voxels, and what lies between is interpolated: an eighth of the
        work, and a picture that differs little. The deformation itself is never interpolated.
        """
        if not before.members:
            return torch.zeros_like(points)
        coarse = min((g for g in self.grids[: len(before.members)]), key=lambda g: g.size)
        if coarse.size >= grid.size:
            return before(points) - points
        asked = coarse.voxel_centres().to(points)
        asked = asked.reshape(1, -1, asked.shape[-1]).expand(len(points), -1, -1)
        moved = (before(asked) - asked).transpose(1, 2).reshape(len(points), -1, *coarse.shape)
        mode = "bilinear" if grid.dimension == 2 else "trilinear"
        finer = nn.functional.interpolate(moved, size=grid.shape, mode=mode, align_corners=True)
        return finer.flatten(2).transpose(1, 2)

    @property
    def grids(self) -> list[Grid]:
        """The grids whose boxes the steps' fields live in, the first step first."""
        return [network.grid for network in self._networks()]

    @property
    def fields(self) -> list[FieldPair]:
        """The steps' fields, the first step first; their latent values are predicted."""
        return [network.fields for network in self._networks()]

    def _networks(self) -> list[NephiNetwork]:
        return [step for step in self.steps if isinstance(step, NephiNetwork)]
