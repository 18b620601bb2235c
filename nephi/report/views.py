"""The views of the page: for every one its planes, and its pictures as sheets of tiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nephi.report.charts import round_step
from nephi.report.colours import ChangeScale
from nephi.report.planes import Planes, planes_of
from nephi.report.result import RegistrationResult
from nephi.report.sampling import Pictures, picture
from nephi.report.sheets import Sheet, grey_sheet, indexed_sheet

SIDE, SIDE_FLAT = 176, 512  # pixels of the longest edge in 3-D and in 2-D
PLANES = 18
LINES = 16  # of the deformation grid, along the longest edge
INKS = 15  # shades of a line of the deformation grid
ZOOM_WIDTH, ZOOM_HEIGHT = 1000, 440  # CSS pixels that all views together take, at the most


@dataclass(frozen=True)
class PageView:
    """One view on the page; sheets hold one tile for each plane."""

    planes: Planes
    fixed: Sheet
    before: Sheet
    after: Sheet
    change: Sheet
    lattice: Sheet
    folds: list[int]

    @property
    def start(self) -> int:
        """The plane shown first: one with folds where there are any, else the middle one."""
        worst = max(range(len(self.folds)), key=lambda i: self.folds[i])
        return worst if self.folds[worst] else len(self.folds) // 2

    @property
    def axis(self) -> str:
        """The world axis along which positions of planes count."""
        return "" if self.planes.view.normal is None else "xyz"[self.planes.view.normal]


@dataclass(frozen=True)
class Views:
    """All views, the scale of their volume changes, the spacing of the deformation grid in mm, CSS pixels per pixel."""

    each: list[PageView]
    scale: ChangeScale
    spacing: float
    zoom: float

    @property
    def folds(self) -> int:
        """How many of the pixels shown lie in a fold."""
        return sum(sum(view.folds) for view in self.each)


def page_views(registration: RegistrationResult) -> Views:
    """Return the views of a registration: axial, coronal, sagittal; in 2-D the one plane."""
    grid = registration.pair.fixed.grid
    planes = planes_of(grid, SIDE_FLAT if grid.dimension == 2 else SIDE, PLANES)
    spacing = round_step(max(max(p.width, p.height) for p in planes) * planes[0].pixel / LINES)
    pictures = [picture(registration, p, spacing) for p in planes]
    scale = ChangeScale.for_determinants(np.concatenate([p.determinants.ravel() for p in pictures]))
    beside = planes * 2 if len(planes) == 1 else planes  # a single view has its two pictures side by side
    zoom = min(ZOOM_WIDTH / sum(p.width for p in beside), ZOOM_HEIGHT / max(p.height for p in planes))
    return Views([_page_view(p, scale) for p in pictures], scale, spacing, zoom)


def _page_view(pictures: Pictures, scale: ChangeScale) -> PageView:
    inks = np.full((INKS + 1, 4), 255, np.uint8)
    inks[:, 3] = np.arange(INKS + 1) * (255 // INKS)
    return PageView(
        planes=pictures.planes,
        fixed=grey_sheet(pictures.fixed),
        before=grey_sheet(pictures.before),
        after=grey_sheet(pictures.after),
        change=indexed_sheet(scale.indices(pictures.determinants), scale.palette()),
        lattice=indexed_sheet(pictures.lattice // (255 // INKS), inks),
        folds=pictures.folds,
    )
