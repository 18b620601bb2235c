"""Viewers that answer while a test runs, and what can be asked of them without a browser."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from nephi.io import write_image
from nephi.report import Viewer
from nephi.report.viewer.niivue import has_niivue
from nephi.results import Registration


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def require_niivue() -> None:
    if not has_niivue():
        pytest.skip("needs NiiVue, which was not fetched when nephi was installed")


def keep(registration: Registration, folder: Path, names: tuple[str, str] = ("fixed.nii.gz", "moving.nii.gz")) -> Path:
    """Save a registration with its images, where `serving` finds them."""
    registration.save(folder / "result")
    for image, name in zip((registration.pair.fixed, registration.pair.moving), names, strict=True):
        write_image(image, folder / name)
    return folder


@contextmanager
def serving(folder: Path, **options: Any) -> Iterator[Viewer]:
    places = {"fixed": folder / "fixed.nii.gz", "moving": folder / "moving.nii.gz", **options}
    with Viewer(folder / "result", **places) as viewer:
        thread = threading.Thread(target=viewer.serve, daemon=True)
        thread.start()
        yield viewer
        viewer.stop()
        thread.join()


def ask(viewer: Viewer, path: str, method: str = "GET", host: str | None = None) -> Reply:
    """Send a path exactly as given, below the viewer's root unless it starts with a slash."""
    place, _, root = viewer.url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(place, timeout=30)
    try:
        connection.putrequest(method, path if path.startswith(("/", "http")) else f"/{root}{path}", skip_host=True)
        connection.putheader("Host", place if host is None else host)
        connection.endheaders()
        reply = connection.getresponse()
        return Reply(reply.status, dict(reply.getheaders()), reply.read())
    finally:
        connection.close()
