"""Steps: networks one after the other, each of which registers what the steps before it have left."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.models.base import PairNetwork
from nephi.models.composition.composed_steps import ComposedSteps
from nephi.models.composition.warping import resampled, warped
from nephi.tables import short_repr
from nephi.transforms import ComposedMaps, MapPair, Maps, mean_penalties

MOST_STEPS = 16  # each is a network of its own


class Steps(ComposedSteps):
    """Networks one after the other: each step gets the moving image warped by the steps before it.

    As TwoStep of GradICON (Tian et al., CVPR 2023): `phi(x) = phi_1(phi_2(x))`, where phi_2 is predicted from
    `A o phi_1` and B. Only images are resampled, to the grid of a step; the prediction is the composition of the steps'
    maps and is evaluated at any point. `grid` is that of the images; the steps' grids cover its box, and a step with a
    coarser grid (`downsampled`) gets both images at that resolution. There is an inverse if every step in use has one.
    """

    def __init__(self, grid: Grid, steps: Sequence[PairNetwork]) -> None:
        super().__init__(grid, steps)

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict phi and its inverse; each penalty is the mean over the steps that have it."""
        forward: list[Maps] = []
        inverses: list[Maps] = []
        penalties = []
        for number, step in enumerate(self.steps[: self.used]):
            assert isinstance(step, PairNetwork)
            images = self.step_image(number, fixed, ()), self.step_image(number, moving, forward)
            prediction: MapPair = step(*images, pair_ids)
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

    def step_image(self, number: int, image: Tensor, before: Sequence[Maps]) -> Tensor:
        """Return one of the images of a step on its grid, warped by the maps of the steps before it, the last first."""
        grid = self.grids[number]
        if not before:
            return resampled(image, self.grid, grid)
        coarsest = min(self.grids[:number], key=lambda each: each.size)
        return warped(image, self.grid, grid, ComposedMaps(before), coarsest)


def check_downsampling(downsampling: Sequence[int]) -> None:
    """Raise `UsageError` for a setting `model.downsampling` that is not a positive integer for each of a few steps."""
    if not 1 <= len(downsampling) <= MOST_STEPS or min(downsampling) < 1:
        raise UsageError(
            f"model.downsampling: expected a positive integer for each step, at most {MOST_STEPS} of them, got "
            f"{short_repr(tuple(downsampling))}"
        )
