"""What a registration leaves: its transform, its inverse, both grids, and the settings it was made with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from nephi.fields.steps import Step
from nephi.geometry import Grid
from nephi.transforms import AffineTransform, Composite, NumericalInverse, Transform

INVERSE_TOLERANCE = 0.5e-3  # mm between y and phi(inverse(y)): 0.001, less what floats and files round


@dataclass(frozen=True, eq=False)
class StoredTransform:
    """What a `.nephi` file holds.

    `affine` takes fixed to moving points; the `steps` act before it, the **first** one first, all on the fixed side:
    one after a fit (none where only the affine part was sought), one or several after a prediction. `settings` are the
    registration's settings as plain tables, `about` versions and seed.
    """

    affine: AffineTransform
    fixed_grid: Grid
    moving_grid: Grid
    steps: tuple[Step, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def transform(self) -> Transform:
        """phi: fixed points to moving points (world mm, RAS)."""
        return _chain([*(step.forward for step in self.steps), self.affine])

    @property
    def inverse(self) -> Transform:
        """The inverse: moving points to fixed points, such that phi takes them back to within 0.001 mm.

        It starts from the trained inverse, if there is one. No gradient flows through it, see `PolishedInverse`.
        """
        back = self.affine.inverse()
        stretch = float(torch.linalg.matrix_norm(self.affine.matrix[:-1, :-1], ord=2))
        tolerance = INVERSE_TOLERANCE / max(1.0, stretch)  # on the steps' side of the affine map
        each = [step.inverse(tolerance) for step in reversed(self.steps)]
        if len(each) < 2:
            return _chain([back, *each])
        # What is left of an error grows on its way through the other steps: the chain is polished as a whole.
        forward = Composite([step.forward for step in self.steps])
        return Composite([back, NumericalInverse(forward, Composite(each), tolerance)])

    @property
    def trained_inverse(self) -> Transform | None:
        """The inverse as it was fitted or predicted, moving points to fixed points, not polished; None without one."""
        each = [inverse for step in reversed(self.steps) if (inverse := step.trained_inverse) is not None]
        if not each or len(each) < len(self.steps):
            return None
        return Composite([self.affine.inverse(), *each])


def _chain(transforms: list[Transform]) -> Transform:
    return transforms[0] if len(transforms) == 1 else Composite(transforms)
