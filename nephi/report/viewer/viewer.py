"""The viewer of a registration."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from nephi.errors import DataError
from nephi.geometry import PointPairs
from nephi.report.viewer.niivue import PACKAGE, has_niivue
from nephi.report.viewer.pages import Pages
from nephi.report.viewer.server import ViewerServer
from nephi.report.viewer.study import read_study


class Viewer:
    """A page in the browser that shows a folder of `nephi register`, served to this machine alone.

    Fixed, moving and warped image blend into each other; the Jacobian determinant and the length of displacement lie
    over them; the crosshair tells what is at its point. `fixed` and `moving` are the images' files where those that
    report.json names have moved; `landmarks` (world mm, RAS) are shown with their errors. `port` 0 is a free one.

    The server listens from the start, on 127.0.0.1, and answers while `serve` runs; `close` frees the port, and so does
    the end of a `with` block.

    Raises `DataError` when the results or an image are missing, damaged or do not belong together, for landmarks of
    another dimension, and when NiiVue was not installed; `UsageError` for a port that cannot be had.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        fixed: str | Path | None = None,
        moving: str | Path | None = None,
        landmarks: PointPairs | None = None,
        port: int = 0,
    ) -> None:
        if not has_niivue():
            raise DataError(
                f"the viewer needs {PACKAGE}, which was not fetched when nephi was installed; "
                "install npm (it comes with Node.js), then nephi once more while online"
            )
        study = read_study(Path(folder), _path(fixed), _path(moving), landmarks)
        self._server = ViewerServer(Pages(study), port)

    @property
    def url(self) -> str:
        """The page's address; whoever knows it, on this machine, can see the images."""
        return self._server.url

    def serve(self) -> None:
        """Answer the browser until `stop` is called from another thread, or an exception (Ctrl-C) ends it."""
        self._server.serve_forever(poll_interval=0.2)

    def stop(self) -> None:
        """End `serve`, which runs in another thread."""
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


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)
