"""The report page: one self-contained HTML file that needs no network."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from nephi.argument_types import checked
from nephi.documents import read_json
from nephi.errors import DataError, printable
from nephi.io import PointPairsLike, as_point_pairs, write_text
from nephi.report.charts import HEIGHT, WIDTH, loss_chart
from nephi.report.colours import FOLD, hexadecimal
from nephi.report.html import render_template
from nephi.report.inputs import input_images
from nephi.report.keypoints import keypoint_page, recorded_keypoints
from nephi.report.landmarks import landmark_page
from nephi.report.result import RegistrationResult
from nephi.report.views import Views, page_views
from nephi.runtime import fit_threads
from nephi.settings import settings_toml

PAGE = "report.html"  # its file name in a folder of results
FURTHER_PACKAGES = ("scipy", "SimpleITK", "safetensors", "isal", "jinja2", "pillow")


@checked
def write_report(
    registration: RegistrationResult, folder: str | Path, *, command: str = "", landmarks: PointPairsLike | None = None
) -> Path:
    """Write `report.html` into the folder that `registration` was saved to; return its path.

    The page shows the images before and after registration in orthogonal views (2-D: one view), the deformation grid,
    the Jacobian determinant with folds, the loss, the errors of `landmarks` (world mm, RAS) if given, the keypoints of
    a registration by keypoints, and from the folder's report.json the measures, settings, versions, run times and
    memory. `command` is a command line to show. The file is written completely or not at all.

    Raises `DataError` when the folder contains no readable report.json, or for landmarks of another dimension.
    """
    page = page_html(registration, _saved_report(Path(folder)), command=command, landmarks=landmarks)
    path = Path(folder) / PAGE
    write_text(path, page)
    return path


@checked
def page_html(
    registration: RegistrationResult,
    report: Mapping[str, Any],
    *,
    command: str = "",
    landmarks: PointPairsLike | None = None,
) -> str:
    """Return the page as text; `report` is the result of `Registration.save`. Otherwise as `write_report`."""
    landmarks = None if landmarks is None else as_point_pairs(landmarks)
    dimension = registration.transform.dimension
    if landmarks is not None and landmarks.fixed.dimension != dimension:
        raise DataError(f"landmarks: expected {dimension}-D like the images, found {landmarks.fixed.dimension}-D")
    marks = keypoints = None
    recorded = recorded_keypoints(registration.stored.about, dimension)
    with fit_threads(registration.settings.threads):
        views = page_views(registration)
        if landmarks is not None and len(landmarks):
            marks = landmark_page(registration.transform, landmarks, [view.planes for view in views.each])
        if recorded is not None:
            keypoints = keypoint_page(registration.transform, recorded, [view.planes for view in views.each])
    return render_template(
        "report.html",
        fixed=printable(registration.pair.fixed.name),
        moving=printable(registration.pair.moving.name),
        dimension=dimension,
        inputs=input_images(registration.pair),
        views=views,
        legend=_change_legend(views),
        landmarks=marks,
        keypoints=keypoints,
        loss=loss_chart(registration.history),
        chart={"width": WIDTH, "height": HEIGHT},
        report=report,
        settings=settings_toml(registration.settings),
        versions={**report["versions"], **_further_versions()},
        system=platform.platform(),
        command=printable(command),
    )


def _saved_report(folder: Path) -> Mapping[str, Any]:
    path = folder / "report.json"
    report = read_json(path, "the report of a saved registration")
    if not isinstance(report, dict) or not {"usage", "versions", "whole_grid"} <= report.keys():
        raise DataError(f"{path}: expected the report of a saved registration, found other JSON")
    return report


def _change_legend(views: Views) -> dict[str, Any]:
    """Return colours and labels of the volume change's scale, which is logarithmic: 1 lies in its middle."""
    limit = views.scale.limit
    marks = [1 / limit, 1 / math.sqrt(limit), 1.0, math.sqrt(limit), limit]
    return {
        "colours": [hexadecimal(c) for c in views.scale.ramp()],
        "marks": [f"{mark:.2g}" for mark in marks],
        "fold": hexadecimal(FOLD),
    }


def _further_versions() -> dict[str, str]:
    versions = {}
    for name in FURTHER_PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # another package may provide the module
            continue
    return versions
