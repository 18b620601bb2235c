"""Figures for papers and notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from nephi.errors import UsageError
from nephi.report.checkers import Grey, checkerboard, difference
from nephi.report.planes import Planes, plane_through
from nephi.report.result import RegistrationResult
from nephi.report.sampling import Pictures, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = ("checkerboard", "difference")
SIDE = 320  # pixels of the longest edge
TILES = 10  # squares of a checkerboard along the longest edge
INCHES = 3.2  # of each picture
EDGES = {"left": (0.02, 0.5), "right": (0.98, 0.5), "top": (0.5, 0.98), "bottom": (0.5, 0.02)}  # where letters stand


def overlay(
    registration: RegistrationResult, position: Sequence[float] | None = None, kind: str = "checkerboard"
) -> Figure:
    """Return a figure of the fixed and the moving image in one, before (above) and after registration.

    One column for each orthogonal view (2-D: one) through the world point `position` (mm, RAS; by default the middle of
    the fixed grid), in radiological orientation. `kind` is `checkerboard` or `difference`. No window is opened: save
    it with `figure.savefig(...)`, or leave it as the last line of a notebook's cell.

    Raises `UsageError` for an unknown kind, or a position of another dimension.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if kind not in KINDS:
        raise UsageError(f"unknown kind of overlay {kind!r}: choose one of {', '.join(KINDS)}")
    pictures = pictures_at(registration, position, SIDE)
    figure = Figure(figsize=(INCHES * len(pictures), 2 * INCHES + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    widths = [p.planes.width for p in pictures]
    rows = figure.subplots(2, len(pictures), squeeze=False, width_ratios=widths)
    for above, below, shown in zip(*rows, pictures, strict=True):
        _draw(above, shown.planes, combined(shown.fixed[0], shown.before[0], kind), "before")
        _draw(below, shown.planes, combined(shown.fixed[0], shown.after[0], kind), "after")
    return figure


def pictures_at(registration: RegistrationResult, position: Sequence[float] | None, side: int) -> list[Pictures]:
    """Return pictures of the planes of each view through a world position; errors as in `overlay`."""
    grid = registration.pair.fixed.grid
    centre = (
        grid.centre_world() if position is None else torch.tensor([float(p) for p in position], dtype=torch.float64)
    )
    if len(centre) != grid.dimension:
        raise UsageError(f"position: expected {grid.dimension} coordinates, as the images have, got {len(centre)}")
    return [picture(registration, planes, spacing=1.0) for planes in plane_through(grid, side, centre)]


def combined(fixed: Grey, other: Grey, kind: str) -> Grey:
    """Return two pictures in one, in the given kind of overlay."""
    if kind == "difference":
        return difference(fixed, other)
    return checkerboard(fixed, other, max(1, max(fixed.shape) // TILES))


def _draw(axes: Axes, planes: Planes, grey: Grey, name: str) -> None:
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    where = "" if planes.view.normal is None else f", {'xyz'[planes.view.normal]} = {planes.positions[0]:.1f} mm"
    axes.set_title(f"{planes.view.name}{where}, {name}", fontsize="small")
    axes.set_axis_off()
    edges = planes.view.edges
    for edge, (x, y) in EDGES.items():
        across = edge if edge in ("left", "right") else "center"
        along = edge if edge in ("top", "bottom") else "center"
        place: dict[str, Any] = {"transform": axes.transAxes, "ha": across, "va": along}
        axes.text(x, y, edges[edge], color="white", fontsize="small", **place)
