"""The views of the report page: planes, and pictures as sprite sheets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nephi.report.charts import round_step
from nephi.report.colours import ChangeScale
from nephi.report.html import SpriteSheet, grey_sheet, indexed_sheet
from nephi.report.pictures import Pictures, sample_pictures
from nephi.report.planes import Planes, planes_of
from nephi.report.result import RegistrationResult

SIDE_3D, SIDE_2D = 176, 512  # pixels of the longest edge
PLANES = 18  # of each view
LINES = 16  # of the deformation grid, along the longest edge
SHADES = 15  # of the deformation grid's lines
ZOOM_WIDTH, ZOOM_HEIGHT = 1000, 440  # largest size of all views together, CSS pixels


@dataclass(frozen=True)
class PageView:
    """One view on the page; sprite sheets have one tile for each plane."""

    planes: Planes
    fixed: SpriteSheet
    before: SpriteSheet
    after: SpriteSheet
    change: SpriteSheet
    grid_lines: SpriteSheet
    folds: list[int]

    @property
    def start(self) -> int:
        """Index of the plane shown first: the one with the most folds, or the middle one without folds."""
        worst = max(range(len(self.folds)), key=lambda i: self.folds[i])
        return worst if self.folds[worst] else len(self.folds) // 2

    @property
    def axis(self) -> str:
        """Name of the world axis along which the planes lie; empty in 2-D."""
        return "" if self.planes.view.normal is None else "xyz"[self.planes.view.normal]


@dataclass(frozen=True)
class Views:
    """All views, their scale of volume change, the spacing of the deformation grid in mm, and CSS pixels per pixel."""

    each: list[PageView]
    scale: ChangeScale
    spacing: float
    zoom: float

    @property
    def folds(self) -> int:
        """Number of folded pixels in all planes."""
        return sum(sum(view.folds) for view in self.each)


def page_views(registration: RegistrationResult) -> Views:
    """Return the views of a registration: axial, coronal and sagittal, or the only plane in 2-D."""
    grid = registration.pair.fixed.grid
    planes = planes_of(grid, SIDE_2D if grid.dimension == 2 else SIDE_3D, PLANES)
    spacing = round_step(max(max(p.width, p.height) for p in planes) * planes[0].pixel / LINES)
    pictures = [sample_pictures(registration, p, spacing) for p in planes]
    scale = ChangeScale.for_determinants(np.concatenate([p.determinants.ravel() for p in pictures]))
    columns = planes * 2 if len(planes) == 1 else planes  # a single view shows its two pictures side by side
    zoom = min(ZOOM_WIDTH / sum(p.width for p in columns), ZOOM_HEIGHT / max(p.height for p in planes))
    return Views([_page_view(p, scale) for p in pictures], scale, spacing, zoom)


def _page_view(pictures: Pictures, scale: ChangeScale) -> PageView:
    shades = np.full((SHADES + 1, 4), 255, np.uint8)
    shades[:, 3] = np.arange(SHADES + 1) * (255 // SHADES)
    return PageView(
        planes=pictures.planes,
        fixed=grey_sheet(pictures.fixed),
        before=grey_sheet(pictures.before),
        after=grey_sheet(pictures.after),
        change=indexed_sheet(scale.indices(pictures.determinants), scale.palette()),
        grid_lines=indexed_sheet(pictures.grid_lines // (255 // SHADES), shades),
        folds=pictures.folds,
    )
