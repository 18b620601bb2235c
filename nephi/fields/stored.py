"""The transform of a registration with its inverse, both grids, and the settings of the registration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from nephi.fields.steps import Step
from nephi.geometry import Grid
from nephi.transforms import AffineTransform, Composite, MirroredComposite, NumericalInverse, Transform

INVERSE_TOLERANCE = 0.5e-3  # mm between y and phi(inverse(y)): 0.001 less the rounding of floats and files


@dataclass(frozen=True, eq=False)
class StoredTransform:
    """The content of a `.nephi` file.

    `affine` maps fixed to moving points. The `steps` are applied before it, in the fixed image's world, the **first**
    one first: one after a fit (none after an affine registration), any number after a prediction. `inverse_steps` are a
    predicted inverse that is not composed of the inverses of the steps; it is applied after the inverse of `affine`.
    `settings` are the registration's settings as plain tables, `about` versions and seed.
    """

    affine: AffineTransform
    fixed_grid: Grid
    moving_grid: Grid
    steps: tuple[Step, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    inverse_steps: tuple[Step, ...] = ()

    def __repr__(self) -> str:
        """Return dimension and steps in one line."""
        steps = ", ".join(step.kind for step in self.steps) or "none"
        return f"StoredTransform({self.affine.dimension}-D, steps before the affine map: {steps})"

    @property
    def handedness(self) -> int:
        """The sign of det J where the map does not fold: -1 after `auto-mirrored` found a mirrored image, otherwise 1.

        Any other map that reflects counts as folded everywhere.
        """
        start = self.about.get("initial_alignment")
        wanted = isinstance(start, dict) and start.get("mirrored") is True
        return self.affine.handedness if wanted else 1

    @property
    def transform(self) -> Transform:
        """phi: fixed points to moving points (world mm, RAS)."""
        return self._composed([*(step.forward for step in self.steps), self.affine])

    @property
    def inverse(self) -> Transform:
        """The inverse: moving points to fixed points, which phi maps back to within 0.001 mm.

        The iteration starts from the unrefined inverse, if there is one. No gradient flows through it, see
        `PolishedInverse`.
        """
        affine_inverse = self.affine.inverse()
        if not self.steps:
            return self._composed([affine_inverse])
        stretch = float(torch.linalg.matrix_norm(self.affine.matrix[:-1, :-1], ord=2))
        tolerance = INVERSE_TOLERANCE / max(1.0, stretch)  # before the affine map
        members = [step.inverse(tolerance) for step in reversed(self.steps)]
        if not self.inverse_steps and len(members) < 2:
            return self._composed([affine_inverse, *members])
        # Solved for the composition as a whole: the residual of one step is amplified by the others.
        guess = _compose([step.forward for step in self.inverse_steps] or members)
        forward = _compose([step.forward for step in self.steps])
        return self._composed([affine_inverse, NumericalInverse(forward, guess, tolerance)])

    @property
    def unrefined_inverse(self) -> Transform | None:
        """The inverse as it was fitted or predicted, moving points to fixed points; None without one."""
        if self.inverse_steps:
            return self._composed([self.affine.inverse(), *(step.forward for step in self.inverse_steps)])
        members = [inverse for step in reversed(self.steps) if (inverse := step.unrefined_inverse) is not None]
        if not members or len(members) < len(self.steps):
            return None
        return self._composed([self.affine.inverse(), *members])

    def _composed(self, transforms: Sequence[Transform]) -> Transform:
        """Compose transforms of which one is the affine part, which may be meant to reflect."""
        return MirroredComposite(transforms) if self.handedness < 0 else _compose(transforms)


def _compose(transforms: Sequence[Transform]) -> Transform:
    return transforms[0] if len(transforms) == 1 else Composite(transforms)
