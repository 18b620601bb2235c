"""What the experiments with small networks share: a step of training, the kept results, and a row of pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from machine import machine
from torch import Tensor, nn

from nephi.geometry import Grid
from nephi.models import RegistrationModel
from nephi.objective import PairBatch, training_terms
from nephi.settings import TrainingObjectiveSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Images = tuple[Tensor, Tensor]  # fixed and moving `(B, 1, *shape)`


def take_step(
    model: RegistrationModel[Any],
    optimizer: torch.optim.Optimizer,
    images: Images,
    grid: Grid,
    objective: TrainingObjectiveSettings,
    step: int,
) -> dict[str, float]:
    """Update the model by the objective of a batch, and return its terms; each pair of each step has its own seed."""
    fixed, moving = images

    def generators() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(len(fixed) * step + pair) for pair in range(len(fixed))]

    model.use_generators(generators())
    terms = training_terms(model(fixed, moving), PairBatch(fixed, moving), grid, objective, generators())
    optimizer.zero_grad()
    torch.stack(list(terms.values())).sum().backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return {name: round(float(term.detach()), 4) for name, term in terms.items()}


def kept_results(path: Path) -> dict[str, Any]:
    """Return the results of an earlier run, or those of none."""
    if path.is_file():
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return results
    return {"machine": machine(), "nets": {}}


def draw_row(axes: list[Axes], pictures: Mapping[str, Tensor], levels: list[float]) -> None:
    """Draw images `(1, 1, X, Y)` under their names, each with the contours of the first one."""
    fixed = next(iter(pictures.values()))
    for axis, (name, picture) in zip(axes, pictures.items(), strict=True):
        axis.imshow(picture[0, 0].T, cmap="gray", vmin=0, vmax=1, origin="lower")
        axis.contour(fixed[0, 0].T, levels, colors="tab:orange", linewidths=1)
        axis.set_title(name, fontsize=7)
        axis.set_axis_off()
