"""The interactive viewer of a registration."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from nephi.argument_types import checked
from nephi.errors import DataError
from nephi.io import PointPairsLike, as_point_pairs
from nephi.report.viewer.niivue import PACKAGE, has_niivue


class Viewer:
    """A web page that shows the results of `nephi register` in a folder, served to this machine only.

    It blends the fixed, moving and warped image, overlays the Jacobian determinant and the length of the displacement,
    and shows the values at the crosshair. `fixed` and `moving` are the paths of images that have been moved
    since report.json was written; `landmarks` (world mm, RAS) are shown with their errors. `fixed_labels`
    and `moving_labels` are the paths of masks or label maps whose contours are shown, by default of the masks of the
    registration. `port` 0 selects a free port.

    The server listens on 127.0.0.1 from construction, and responds while `serve` runs; `close`, or the end of a `with`
    block, frees the port.

    Raises `DataError` when the results or an image are missing, damaged or do not belong together, for landmarks of
    another dimension, and when NiiVue is not installed; `UsageError` for a port that is not available.
    """

    @checked
    def __init__(
        self,
        folder: str | Path,
        *,
        fixed: str | Path | None = None,
        moving: str | Path | None = None,
        landmarks: PointPairsLike | None = None,
        fixed_labels: str | Path | None = None,
        moving_labels: str | Path | None = None,
        port: int = 0,
    ) -> None:
        if not has_niivue():
            raise DataError(
                f"the viewer needs {PACKAGE}, which was not downloaded when nephi was installed; "
                "install npm (part of Node.js), then reinstall nephi while online"
            )
        # Here, because a registration loads this module, but not a web server.
        from nephi.report.viewer.pages import Pages
        from nephi.report.viewer.server import ViewerServer
        from nephi.report.viewer.study import read_study

        pairs = None if landmarks is None else as_point_pairs(landmarks)
        labels = {"fixed": _path(fixed_labels), "moving": _path(moving_labels)}
        study = read_study(Path(folder), _path(fixed), _path(moving), pairs, labels)
        self._server = ViewerServer(Pages(study), port)

    @property
    def url(self) -> str:
        """Address of the page; everyone on this machine who knows it can see the images."""
        return self._server.url

    def serve(self) -> None:
        """Respond to the browser until `stop` is called from another thread, or an exception (Ctrl-C) is raised."""
        self._server.serve_forever(poll_interval=0.2)

    def stop(self) -> None:
        """End a `serve` that runs in another thread."""
        self._server.shutdown()

    def close(self) -> None:
        """Free the port."""
        self._server.server_close()

    def __enter__(self) -> Viewer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)
