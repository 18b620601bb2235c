"""Responses of the viewer's server: a table of routes."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs

import torch

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.images import Image
from nephi.io import write_image
from nephi.report.viewer.lines import LinePictures
from nephi.report.viewer.maps import ColourMap, deformation_maps
from nephi.report.viewer.niivue import SCRIPT
from nephi.report.viewer.study import Study

STATIC = Path(__file__).parent / "static"
STYLE = Path(__file__).parents[1] / "templates" / "report.css"
# Voxel types that NiiVue reads; others are converted to float32.
NIIVUE_TYPES = (torch.uint8, torch.int16, torch.int32, torch.float32)
MODULES = ("viewer.js", "scene.js", "partner.js", "keyboard.js", "lines.js", "landmarks.js")
HTML, CSS, SCRIPTS, JSON, NIFTI, PNG = (
    "text/html; charset=utf-8",
    "text/css; charset=utf-8",
    "text/javascript; charset=utf-8",
    "application/json",
    "application/octet-stream",
    "image/png",
)


@dataclass(frozen=True)
class Response:
    """A response body and its media type."""

    media_type: str
    body: bytes


class Pages:
    """The pages of one study. They read only files that are named here; no request can name a file.

    Volumes and maps are computed when they are first requested, so that the page opens at once.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._lines = LinePictures(study.stored, study.contours)
        self._maps: dict[str, ColourMap] = {}
        self._maps_lock = Lock()  # each request has its own thread, and computing maps takes seconds
        self._routes: dict[str, Callable[[str], Response]] = {
            "": _file(STATIC / "viewer.html", HTML),
            "report.css": _file(STYLE, CSS),
            "viewer.css": _file(STATIC / "viewer.css", CSS),
            **{name: _file(STATIC / name, SCRIPTS) for name in MODULES},
            "niivue.js": _file(SCRIPT, SCRIPTS),
            "study.json": lambda _: _json(self._study_table()),
            "maps.json": lambda _: _json({name: item.table() for name, item in self._deformation().items()}),
            "values": self._values,
            "lines.png": self._line_picture,
            **{f"{name}.nii": _volume(getattr(study, name)) for name in ("fixed", "moving", "warped")},
            "jacobian.nii": lambda query: _volume(self._deformation()["jacobian"].image)(query),
            "displacement.nii": lambda query: _volume(self._deformation()["displacement"].image)(query),
            "local.nii": lambda query: _volume(self._deformation()["local"].image)(query),
        }

    def respond(self, name: str, query: str) -> Response | None:
        """Return the response of a route, or None for an unknown route.

        Raises `UsageError` for an invalid query.
        """
        route = self._routes.get(name)
        return None if route is None else route(query)

    def _study_table(self) -> dict[str, Any]:
        study = self._study
        return {
            "fixed": study.fixed.name,
            "moving": study.moving.name,
            "dimension": study.dimension,
            "centre": torch.nn.functional.pad(study.fixed.grid.centre_world(), (0, 3 - study.dimension)).tolist(),
            "windows": study.windows(),
            "extent": float(_extent(study.fixed.grid).max()),
            "lines": self._lines.table(),
            "step": float(study.fixed.grid.spacing.min()),
            "landmarks": study.landmark_table(),
            "points": study.points_name,
        }

    def _deformation(self) -> dict[str, ColourMap]:
        with self._maps_lock:
            if not self._maps:
                stored = self._study.stored
                self._maps = deformation_maps(stored.transform, self._study.fixed.grid, stored.handedness)
        return self._maps

    def _line_picture(self, query: str) -> Response:
        """Respond to `view=NAME&position=MM&kinds=NAME,...`; the position counts along the view's normal."""
        fields = parse_qs(query)
        text = fields.get("position", ["0"])[0]
        try:
            position = float(text)
        except ValueError:
            position = math.nan
        if not math.isfinite(position):
            raise UsageError(f"position: expected a number, mm, got {text!r}")
        kinds = [kind for kind in fields.get("kinds", [""])[0].split(",") if kind]
        return Response(PNG, self._lines.picture(fields.get("view", [""])[0], position, kinds))

    def _values(self, query: str) -> Response:
        """Respond to `point=X,Y,Z` (2-D: `X,Y`), world mm, RAS."""
        texts = parse_qs(query).get("point", [""])[0].split(",")
        try:
            point = [float(text) for text in texts]
        except ValueError:
            point = []
        if len(point) != self._study.dimension or not all(map(math.isfinite, point)):
            text = ",".join(texts)
            raise UsageError(f"point: expected {self._study.dimension} numbers, world mm (RAS), got {text!r}")
        return _json(self._study.values_at(torch.tensor(point, dtype=torch.float64)))


def _extent(grid: Grid) -> torch.Tensor:
    corners = grid.corners_world()
    return corners.amax(dim=0) - corners.amin(dim=0)


def _file(path: Path, kind: str) -> Callable[[str], Response]:
    return lambda _: Response(kind, path.read_bytes())


def _json(table: dict[str, Any]) -> Response:
    return Response(JSON, json.dumps(table, allow_nan=False).encode())


def _volume(image: Image) -> Callable[[str], Response]:
    """Return a route to an image as NIfTI, uncompressed because it does not leave this machine."""

    def respond(_: str) -> Response:
        data = image.data if image.data.dtype in NIIVUE_TYPES else image.data.float()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "volume.nii"
            write_image(image.with_data(data), path)
            return Response(NIFTI, path.read_bytes())

    return respond
