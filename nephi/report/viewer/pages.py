"""What the viewer's server answers: a table of routes, each with what is found there."""

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
from nephi.report.viewer.maps import ColourMap, deformation_maps
from nephi.report.viewer.niivue import SCRIPT
from nephi.report.viewer.study import Study

STATIC = Path(__file__).parent / "static"
STYLE = Path(__file__).parents[1] / "templates" / "report.css"
# NiiVue reads these; what is stored in another type is shown as float32.
SHOWN_TYPES = (torch.uint8, torch.int16, torch.int32, torch.float32)
HTML, CSS, SCRIPTS, JSON, NIFTI = (
    "text/html; charset=utf-8",
    "text/css; charset=utf-8",
    "text/javascript; charset=utf-8",
    "application/json",
    "application/octet-stream",
)


@dataclass(frozen=True)
class Answer:
    """A body and its media type."""

    kind: str
    body: bytes


class Pages:
    """The pages of one study. The only files behind them are named here: no request names one.

    Volumes and maps are made when they are first asked for, so that the page is there at once.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._maps: dict[str, ColourMap] = {}
        self._making = Lock()  # requests come in threads of their own; maps take seconds
        self._routes: dict[str, Callable[[str], Answer]] = {
            "": _file(STATIC / "viewer.html", HTML),
            "report.css": _file(STYLE, CSS),
            "viewer.css": _file(STATIC / "viewer.css", CSS),
            **{name: _file(STATIC / name, SCRIPTS) for name in ("viewer.js", "scene.js", "landmarks.js")},
            "niivue.js": _file(SCRIPT, SCRIPTS),
            "study.json": lambda _: _json(self._about()),
            "maps.json": lambda _: _json({name: found.table() for name, found in self._deformation().items()}),
            "values": self._values,
            **{f"{name}.nii": _volume(getattr(study, name)) for name in ("fixed", "moving", "warped")},
            "jacobian.nii": lambda query: _volume(self._deformation()["jacobian"].image)(query),
            "displacement.nii": lambda query: _volume(self._deformation()["displacement"].image)(query),
        }

    def answer(self, name: str, query: str) -> Answer | None:
        """Return what is found under a route's name, or None where there is no such route.

        Raises `UsageError` for a query that the route does not understand.
        """
        route = self._routes.get(name)
        return None if route is None else route(query)

    def _about(self) -> dict[str, Any]:
        study = self._study
        return {
            "fixed": study.fixed.name,
            "moving": study.moving.name,
            "dimension": study.dimension,
            "centre": torch.nn.functional.pad(study.fixed.grid.centre_world(), (0, 3 - study.dimension)).tolist(),
            "windows": study.windows(),
            "extent": float(_extent(study.fixed.grid).max()),
            "landmarks": study.landmark_table(),
        }

    def _deformation(self) -> dict[str, ColourMap]:
        with self._making:
            if not self._maps:
                self._maps = deformation_maps(self._study.stored.transform, self._study.fixed.grid)
        return self._maps

    def _values(self, query: str) -> Answer:
        """Answer `point=X,Y,Z` (2-D: `X,Y`), world mm, RAS."""
        texts = parse_qs(query).get("point", [""])[0].split(",")
        try:
            point = [float(text) for text in texts]
        except ValueError:
            point = []
        if len(point) != self._study.dimension or not all(map(math.isfinite, point)):
            raise UsageError(f"expected point= with {self._study.dimension} numbers, world mm (RAS)")
        return _json(self._study.values_at(torch.tensor(point, dtype=torch.float64)))


def _extent(grid: Grid) -> torch.Tensor:
    corners = grid.corners_world()
    return corners.amax(dim=0) - corners.amin(dim=0)


def _file(path: Path, kind: str) -> Callable[[str], Answer]:
    return lambda _: Answer(kind, path.read_bytes())


def _json(table: dict[str, Any]) -> Answer:
    return Answer(JSON, json.dumps(table, allow_nan=False).encode())


def _volume(image: Image) -> Callable[[str], Answer]:
    """Return a route to an image as NIfTI. Not compressed: it does not leave this machine."""

    def answer(_: str) -> Answer:
        data = image.data if image.data.dtype in SHOWN_TYPES else image.data.float()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "volume.nii"
            write_image(image.with_data(data), path)
            return Answer(NIFTI, path.read_bytes())

    return answer
