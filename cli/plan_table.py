"""What `nephi register --dry-run` prints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .tables import print_rows

if TYPE_CHECKING:
    from nephi.optimize import Plan


def plan_table(plan: Plan, initial: str, results: str) -> None:
    """Print what a registration would do; `initial` and `results` are told as they are."""
    settings, objective = plan.settings, plan.settings.objective
    rows = []
    for name, side in (("fixed", plan.fixed), ("moving", plan.moving)):
        inside = "everywhere" if side.mask_voxels is None else f"{side.mask_voxels} voxels in the mask"
        rows.append((name, side.name))
        rows.append(("", f"{_by(side.grid.shape)} voxels of {_by(side.grid.spacing.tolist())} mm, {inside}"))
        rows.append(("", f"intensities {side.window[0]:g} to {side.window[1]:g}"))
    kind = settings.affine.kind if settings.transform == "deformable" else settings.transform
    rows.append(("start", initial))
    if kind != "none":
        by = ", ".join(f"{s:.3g}" for s in settings.affine.smoothing)
        rows.append((kind, f"{settings.affine.steps} steps at each smoothing of {by} mm"))
    if plan.parameters:
        lattices = f", latent grids {', '.join(map(_by, plan.lattices))}" if plan.lattices else ""
        rows.append(("fields", f"{plan.parameters} parameters{lattices}"))
    if plan.levels:
        rows.append(("similarity", f"{objective.similarity} at {objective.points} points a step and direction"))
    for number, level in enumerate(plan.levels, start=1):
        steps, smoothing = level.settings.steps, level.settings.smoothing
        seen = f"images of {_by(level.fixed_shape)} and {_by(level.moving_shape)} voxels"
        how = f"smoothed by {smoothing:.3g} mm" if smoothing else "unsmoothed"
        rows.append((f"level {number}", f"{steps} steps, {seen}, {how}"))
    rows.append(("device", plan.device))
    if plan.memory_mb is not None:
        rows.append(("memory, about", f"{plan.memory_mb:.0f} MB"))
    rows.append(("results", results))
    print_rows("Plan (nothing is computed or written)", rows)


def _by(numbers: Iterable[float]) -> str:
    return " x ".join(f"{number:.4g}" for number in numbers)
