"""Steps: networks one after the other, each of which registers what the steps before it have left."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nephi.errors import UsageError
from nephi.geometry import Grid, interpolate_batch
from nephi.models.base import PairNetwork
from nephi.tables import short_repr
from nephi.transforms import ComposedMaps, MapPair, Maps, mean_penalties

MOST_STEPS = 16  # each is a network of its own


class Steps(PairNetwork):
    """Networks one after the other: each step gets the moving image warped by the steps before it.

    As TwoStep of GradICON (Tian et al., CVPR 2023): `phi(x) = phi_1(phi_2(x))`, where phi_2 is predicted from
    `A o phi_1` and B. Only images are resampled, to the grid of a step; the prediction is the composition of the steps'
    maps and is evaluated at any point. `grid` is that of the images; the steps' grids cover its box, and a step with a
    coarser grid (`downsampled`) gets both images at that resolution. There is an inverse if every step has one.
    """

    def __init__(self, grid: Grid, steps: Sequence[PairNetwork]) -> None:
        super().__init__()
        self.grid = grid
        self.steps = nn.ModuleList(steps)

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict phi and its inverse; each penalty is the mean over the steps that have it."""
        forward: list[Maps] = []
        inverses: list[Maps] = []
        penalties = []
        for number, step in enumerate(self.steps):
            assert isinstance(step, PairNetwork)
            prediction: MapPair = step(*self._step_images(number, fixed, moving, ComposedMaps(forward)), pair_ids)
            forward.insert(0, prediction.forward)
            if prediction.inverse is not None:
                inverses.append(prediction.inverse)
            penalties.append(prediction.penalties)
        inverse = ComposedMaps(inverses) if len(inverses) == len(forward) else None
        return MapPair(ComposedMaps(forward), inverse, mean_penalties(penalties))

    @property
    def grids(self) -> list[Grid]:
        """The grids of the steps, the first step first."""
        return [step.grid for step in self.steps if isinstance(step, PairNetwork)]

    def _step_images(self, number: int, fixed: Tensor, moving: Tensor, before: ComposedMaps) -> tuple[Tensor, Tensor]:
        """Return the images of a step: the fixed one, and the moving one warped by the maps `before`, on its grid."""
        grid = self.grids[number]
        full_resolution = grid.same_as(self.grid)
        if full_resolution and not before.members:
            return fixed, moving
        if not full_resolution:
            fixed, moving = (averaged(image, grid, self.grid) for image in (fixed, moving))
        points = grid.voxel_centres().to(fixed)
        points = points.reshape(1, -1, points.shape[-1]).expand(len(fixed), -1, -1)
        shape = (len(fixed), 1, *grid.shape)
        if not full_resolution:
            fixed = interpolate_batch(fixed, self.grid, points).reshape(shape)
        displaced = points + self._displacement(number, before, points)
        return fixed, interpolate_batch(moving, self.grid, displaced).reshape(shape)

    def _displacement(self, number: int, before: ComposedMaps, points: Tensor) -> Tensor:
        """Return the displacement of a step's voxel centres by the maps `before`, for the image of the step.

        The maps are evaluated on the coarsest grid of the steps before and interpolated in between: an eighth of the
        work, and an image that differs little. The prediction itself is never interpolated.
        """
        if not before.members:
            return torch.zeros_like(points)
        grid = self.grids[number]
        coarse = min(self.grids[:number], key=lambda each: each.size)
        if coarse.size >= grid.size:
            return before(points) - points
        nodes = coarse.voxel_centres().to(points)
        nodes = nodes.reshape(1, -1, nodes.shape[-1]).expand(len(points), -1, -1)
        displacement = (before(nodes) - nodes).transpose(1, 2).reshape(len(points), -1, *coarse.shape)
        mode = "bilinear" if grid.dimension == 2 else "trilinear"
        # Between two regular lattices torch's resizing takes a tenth of the time of interpolation at points.
        finer = nn.functional.interpolate(displacement, size=grid.shape, mode=mode, align_corners=True)
        return finer.flatten(2).transpose(1, 2)


def check_downsampling(downsampling: Sequence[int]) -> None:
    """Raise `UsageError` for a setting `model.downsampling` that is not a positive integer for each of a few steps."""
    if not 1 <= len(downsampling) <= MOST_STEPS or min(downsampling) < 1:
        raise UsageError(
            f"model.downsampling: expected a positive integer for each step, at most {MOST_STEPS} of them, got "
            f"{short_repr(tuple(downsampling))}"
        )


def downsampled(grid: Grid, factor: int) -> Grid:
    """Return a grid of about every `factor`-th voxel along each axis, with the same outermost voxel centres."""
    shape = tuple(max(2, -(-n // factor)) for n in grid.shape)
    scale = [(n - 1) / (m - 1) for n, m in zip(grid.shape, shape, strict=True)]
    return Grid(shape, grid.affine @ torch.diag(torch.tensor([*scale, 1.0], dtype=torch.float64)))


def averaged(images: Tensor, coarse: Grid, fine: Grid) -> Tensor:
    """Return images `(B, 1, *shape)` on the `fine` grid, averaged over about a voxel of the `coarse` grid.

    Without it, structures finer than the coarse grid would alias when the images are downsampled.
    """
    # Odd widths, so that nothing is shifted.
    widths = [2 * round(n / (2 * m)) + 1 for n, m in zip(fine.shape, coarse.shape, strict=True)]
    pool = nn.functional.avg_pool2d if fine.dimension == 2 else nn.functional.avg_pool3d
    for axis, width in enumerate(widths):  # one axis after the other: 15 voxels instead of 125 for a width of 5
        window = [width if each == axis else 1 for each in range(fine.dimension)]
        images = pool(images, window, stride=1, padding=[w // 2 for w in window], count_include_pad=False)
    return images
