"""Result of registering one pair of images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from nephi.argument_types import checked
from nephi.errors import UsageError
from nephi.fields import StoredTransform
from nephi.images import LABEL_INTERPOLATIONS, Image, resample, warn_of_units
from nephi.io import ImageLike, LabelsLike, PointPairsLike, as_image, as_point_pairs
from nephi.preparation import Pair
from nephi.report import notebook_html
from nephi.results.output_folder import OUTPUTS
from nephi.results.quality import measure_pair
from nephi.results.saving import save_registration
from nephi.results.verdict import Quality, judge
from nephi.runtime import Usage, fit_threads
from nephi.settings import Settings
from nephi.transforms import Transform


@dataclass(frozen=True, eq=False)
class Registration:
    """The result of `register`, or of a prediction.

    `stored` is the content of `transform.nephi`; `history` has one row per step: the level (from 0), the loss and its
    terms; `usage` the seconds of each stage; `warnings` the texts of all `DataWarning`s about the images, their masks
    and the result.
    """

    stored: StoredTransform
    pair: Pair
    settings: Settings
    seed: int
    history: list[dict[str, float]] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    gpu_memory_mb: float | None = None
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return images, transform and cost in a few lines."""
        seconds = sum(stage["cpu_s"] for stage in self.usage.stages.values())
        warned = f", {len(self.warnings)} warnings" if self.warnings else ""
        steps = f"{len(self.history)} steps, {seconds:.1f} CPU s, seed {self.seed}{warned}"
        return (
            f"Registration({self.settings.transform}, {steps})\n  fixed: {self.pair.fixed!r}\n"
            f"  moving: {self.pair.moving!r}"
        )

    @property
    def transform(self) -> Transform:
        """phi: fixed points to moving points (world mm, RAS)."""
        return self.stored.transform

    @property
    def inverse(self) -> Transform:
        """The inverse: moving points to fixed points (world mm, RAS)."""
        return self.stored.inverse

    @cached_property
    def quality(self) -> Quality:
        """Whether the images match: a verdict, its reasons, and the measures before and after on which it depends.

        They are measured at the first access, at points that depend on `seed`.
        """
        with fit_threads(self.settings.threads):
            measured = measure_pair(self.pair, self.transform, self.settings, self.seed)
        return judge(measured, self.pair, self.settings)

    @checked
    def warp(self, image: ImageLike, interpolation: str = "linear", outside: float | None = None) -> Image:
        """Resample an image in the moving image's world (the moving image, its labels, ...) on the fixed grid.

        `outside` is the value of voxels outside the image; by default 0 with the interpolations for labels, `label` and
        `nearest`, and `image.outside` of the settings with the others.
        """
        image = as_image(image)
        if image.dimension != self.transform.dimension:
            raise UsageError(
                f"{image.name}: expected a {self.transform.dimension}-D image, got a {image.dimension}-D one"
            )
        if outside is None:
            outside = 0.0 if interpolation in LABEL_INTERPOLATIONS else self.settings.image.outside
            warn_of_units(image, outside)
        with fit_threads(self.settings.threads):
            return resample(image, self.pair.fixed.grid, self.transform, interpolation, outside)

    @checked
    def save(
        self,
        folder: str | Path,
        overwrite: bool = False,
        landmarks: PointPairsLike | None = None,
        outputs: Collection[str] = tuple(OUTPUTS),
        labels: LabelsLike | None = None,
        page: Callable[[Mapping[str, Any]], str] | None = None,
    ) -> Mapping[str, Any]:
        """Write transform, displacement fields, warped image and report to `folder`; return the report.

        A new folder is created by one rename, with all files. In an existing folder, earlier results are deleted before
        the first new file is moved into it; report.json is moved last.

        `outputs` selects files by the names in `nephi.results.OUTPUTS`; folding and inverse consistency are measured if
        it includes `warp`, `warped` or `report`. The errors of `landmarks` (world mm, RAS) and the overlap of `labels`
        (fixed, moving) are added to the report; they do not influence the result. `page` returns the text of
        report.html, given the report (`nephi.report.page_html`).

        Raises `DataError` for a folder that cannot be written, or is not empty while `overwrite` is false, and for
        landmarks or labels of another dimension; `UsageError` for unknown or empty outputs.
        """
        pairs = None if landmarks is None else as_point_pairs(landmarks)
        images = None if labels is None else (as_image(labels[0], "labels[0]"), as_image(labels[1], "labels[1]"))
        return save_registration(self, Path(folder), overwrite, pairs, outputs, images, page)

    def _repr_html_(self) -> str:
        """Return HTML for notebooks: checkerboards before and after, and the main measures."""
        return notebook_html(self)
