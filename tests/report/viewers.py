"""Viewers that serve during a test, and requests to them without a browser."""

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
        pytest.skip("needs NiiVue, which was not downloaded when nephi was installed")


def save_with_images(
    registration: Registration, folder: Path, names: tuple[str, str] = ("fixed.nii.gz", "moving.nii.gz")
) -> Path:
    """Save a registration and its images for `serving`; return the folder."""
    registration.save(folder / "result")
    for image, name in zip((registration.pair.fixed, registration.pair.moving), names, strict=True):
        write_image(image, folder / name)
    return folder


@contextmanager
def serving(folder: Path, **options: Any) -> Iterator[Viewer]:
    images = {"fixed": folder / "fixed.nii.gz", "moving": folder / "moving.nii.gz"}
    with Viewer(folder / "result", **{**images, **options}) as viewer:
        thread = threading.Thread(target=viewer.serve, daemon=True)
        thread.start()
        yield viewer
        viewer.stop()
        thread.join()


def request(viewer: Viewer, path: str, method: str = "GET", host: str | None = None) -> Reply:
    """Request a path, sent exactly as given, below the viewer's root unless it starts with a slash."""
    address, _, root = viewer.url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.putrequest(method, path if path.startswith(("/", "http")) else f"/{root}{path}", skip_host=True)
        connection.putheader("Host", address if host is None else host)
        connection.endheaders()
        reply = connection.getresponse()
        return Reply(reply.status, dict(reply.getheaders()), reply.read())
    finally:
        connection.close()
