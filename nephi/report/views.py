"""The views of the report page: planes, and pictures as sprite sheets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nephi.report.charts import round_step
from nephi.report.colours import ChangeScale
from nephi.report.html import SpriteSheet, grey_sheet, indexed_sheet
from nephi.report.pictures import Pictures, sample_pictures
from nephi.report.planes import Planes, planes_of
from nephi.report.result import RegistrationResult
from nephi.report.smoothing import smoothed_determinants, smoothing_width

SIDE_3D, SIDE_2D = 176, 512  # pixels of the longest edge
PLANES = 18  # of each view
LINES = 16  # of the deformation grid, along the longest edge
SHADES = 15  # of the deformation grid's lines
LEAST_ASPECT = 1.2  # of all views in a row: if they are narrower, the pictures of each view lie in a row, too


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
    """All views, their scale of volume change, the spacing of the deformation grid in mm, and what smooths the change.

    `smoothing` is the standard deviation in mm of the Gaussian that smooths the pictures of volume change, 0 for none.
    """

    each: list[PageView]
    scale: ChangeScale
    spacing: float
    smoothing: float

    @property
    def folds(self) -> int:
        """Number of folded pixels in all planes."""
        return sum(sum(view.folds) for view in self.each)

    @property
    def aspect(self) -> float:
        """Width of one picture of each view in a row, divided by the height of the tallest."""
        return sum(v.planes.width for v in self.each) / max(v.planes.height for v in self.each)

    @property
    def in_rows(self) -> bool:
        """Whether the pictures of a view lie in a row, so that they fill the page: those of one view, or of tall ones.

        Otherwise each view is a column.
        """
        return len(self.each) == 1 or self.aspect < LEAST_ASPECT


def page_views(registration: RegistrationResult) -> Views:
    """Return the views of a registration: axial, coronal and sagittal, or the only plane in 2-D."""
    grid = registration.pair.fixed.grid
    planes = planes_of(grid, SIDE_2D if grid.dimension == 2 else SIDE_3D, PLANES)
    spacing = round_step(max(max(p.width, p.height) for p in planes) * planes[0].pixel / LINES)
    pictures = [sample_pictures(registration, p, spacing) for p in planes]
    smoothing = smoothing_width(registration.stored)
    changes = [smoothed_determinants(p.determinants, smoothing / p.planes.pixel) for p in pictures]
    scale = ChangeScale.for_determinants(np.concatenate([change.ravel() for change in changes]))
    views = [_page_view(p, change, scale) for p, change in zip(pictures, changes, strict=True)]
    return Views(views, scale, spacing, smoothing)


def _page_view(pictures: Pictures, change: NDArray[np.float32], scale: ChangeScale) -> PageView:
    shades = np.full((SHADES + 1, 4), 255, np.uint8)
    shades[:, 3] = np.arange(SHADES + 1) * (255 // SHADES)
    return PageView(
        planes=pictures.planes,
        fixed=grey_sheet(pictures.fixed),
        before=grey_sheet(pictures.before),
        after=grey_sheet(pictures.after),
        change=indexed_sheet(scale.indices(change), scale.palette()),
        grid_lines=indexed_sheet(pictures.grid_lines // (255 // SHADES), shades),
        folds=pictures.folds,
    )
