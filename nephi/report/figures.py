"""Figures for papers and notebooks: overlays of the fixed and the moving image before and after registration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from nephi.argument_types import checked
from nephi.errors import UsageError
from nephi.report.html import grey_sheet, render_template
from nephi.report.pictures import Pictures, sample_pictures
from nephi.report.planes import Planes, plane_through
from nephi.report.result import RegistrationResult
from nephi.runtime import caller_threads

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Grey = NDArray[np.uint8]

KINDS = ("checkerboard", "difference")
SIDE = 320  # pixels of the longest edge in a figure
NOTEBOOK_SIDE = 200  # the same in a notebook
TILES = 10  # squares of a checkerboard along the longest edge
INCHES = 3.2  # width of each picture
LETTER_POSITIONS = {"left": (0.02, 0.5), "right": (0.98, 0.5), "top": (0.5, 0.98), "bottom": (0.5, 0.02)}


@checked
@caller_threads()
def overlay(
    registration: RegistrationResult, position: Sequence[float] | None = None, kind: str = "checkerboard"
) -> Figure:
    """Return a figure that overlays the fixed and the moving image before (above) and after registration.

    It has one column for each orthogonal view (2-D: one) through the world point `position` (mm, RAS; default: the
    centre of the fixed grid), in radiological orientation. `kind` is `checkerboard` or `difference`. No window opens:
    save it with `figure.savefig(...)`, or leave it as the last line of a notebook's cell.

    Raises `UsageError` for an unknown kind, or a position of another dimension.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if kind not in KINDS:
        raise UsageError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    pictures = pictures_at(registration, position, SIDE)
    figure = Figure(figsize=(INCHES * len(pictures), 2 * INCHES + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    widths = [p.planes.width for p in pictures]
    rows = figure.subplots(2, len(pictures), squeeze=False, width_ratios=widths)
    for above, below, view_pictures in zip(*rows, pictures, strict=True):
        fixed, before, after = view_pictures.fixed[0], view_pictures.before[0], view_pictures.after[0]
        _draw(above, view_pictures.planes, combine(fixed, before, kind), "before")
        _draw(below, view_pictures.planes, combine(fixed, after, kind), "after")
    return figure


def notebook_html(registration: RegistrationResult) -> str:
    """Return a short HTML fragment: checkerboards before and after through the centre of the grid, and a summary."""
    pictures = pictures_at(registration, None, NOTEBOOK_SIDE)

    def checkerboard_uris(layers: list[Grey]) -> list[str]:
        pairs = zip(pictures, layers, strict=True)
        return [grey_sheet(combine(p.fixed[0], layer[0], "checkerboard")[np.newaxis]).uri for p, layer in pairs]

    return render_template(
        "notebook.html",
        fixed=registration.pair.fixed.name,
        moving=registration.pair.moving.name,
        transform=registration.settings.transform,
        steps=len(registration.history),
        seconds=sum(stage["cpu_s"] for stage in registration.usage.stages.values()),
        views=[p.planes.view for p in pictures],
        rows={
            "before": checkerboard_uris([p.before for p in pictures]),
            "after": checkerboard_uris([p.after for p in pictures]),
        },
    )


def pictures_at(registration: RegistrationResult, position: Sequence[float] | None, side: int) -> list[Pictures]:
    """Return pictures of the plane of each view through a world position; errors as in `overlay`."""
    grid = registration.pair.fixed.grid
    centre = (
        grid.centre_world() if position is None else torch.tensor([float(p) for p in position], dtype=torch.float64)
    )
    if len(centre) != grid.dimension:
        raise UsageError(f"position: expected {grid.dimension} coordinates like the images, got {len(centre)}")
    return [sample_pictures(registration, planes, spacing=1.0) for planes in plane_through(grid, side, centre)]


def combine(fixed: Grey, moving: Grey, kind: str) -> Grey:
    """Return a checkerboard or the difference of two pictures `(H, W)`."""
    if kind == "difference":
        return difference(fixed, moving)
    return checkerboard(fixed, moving, max(1, max(fixed.shape) // TILES))


def checkerboard(one: Grey, other: Grey, tile: int) -> Grey:
    """Return alternating squares of `tile` pixels from two pictures `(H, W)`, starting with `one`."""
    rows, columns = (np.arange(n) // tile for n in one.shape)
    return np.where((rows[:, None] + columns) % 2 == 0, one, other)


def difference(one: Grey, other: Grey) -> Grey:
    """Return the absolute difference of two pictures `(H, W)`, 0 to 255."""
    return np.abs(one.astype(np.int16) - other).astype(np.uint8)


def _draw(axes: Axes, planes: Planes, grey: Grey, name: str) -> None:
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    normal = planes.view.normal
    position = "" if normal is None else f", {'xyz'[normal]} = {planes.positions[0]:.1f} mm"
    axes.set_title(f"{planes.view.name}{position}, {name}", fontsize="small")
    axes.set_axis_off()
    letters = planes.view.edges
    for edge, (x, y) in LETTER_POSITIONS.items():
        horizontal = edge if edge in ("left", "right") else "center"
        vertical = edge if edge in ("top", "bottom") else "center"
        options: dict[str, Any] = {"transform": axes.transAxes, "ha": horizontal, "va": vertical}
        axes.text(x, y, letters[edge], color="white", fontsize="small", **options)
