"""`nephi view`."""

from __future__ import annotations

import html
import os
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import click

from .options import FILE, frame_option
from .printing import echo, echo_line


@click.command(short_help="Look at results in the browser.")
@click.argument("folder", type=FILE, metavar="OUTDIR")
@click.option("-f", "--fixed", type=FILE, help="Fixed image, if it is no longer where OUTDIR/report.json says.")
@click.option("-m", "--moving", type=FILE, help="The same for the moving image.")
@click.option("--landmarks", type=FILE, metavar="F.csv", help="Pairs of points to show, with their errors.")
@frame_option
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    default=0,
    show_default=True,
    help="Port to listen on; 0 for a free one. For a tunnel (ssh -L N:127.0.0.1:N) choose one.",
)
@click.option("--browser/--no-browser", default=True, help="Open the page.  [default: --browser]")
def view(
    folder: Path,
    fixed: Path | None,
    moving: Path | None,
    landmarks: Path | None,
    frame: str,
    port: int,
    browser: bool,
) -> None:
    """Show what `nephi register` wrote to OUTDIR in the browser, until Ctrl-C.

    Fixed, moving and warped image blend into each other; Jacobian determinant and displacement lie over them in colour;
    the crosshair tells the values at its point. The page is served to this machine alone, at an address that is new
    every time, and nothing of it comes from the network.

    \b
    nephi view result
    nephi view result --landmarks landmarks.csv
    """
    import nephi

    pairs = None if landmarks is None else nephi.read_point_pairs(landmarks, frame)
    with nephi.Viewer(folder, fixed=fixed, moving=moving, landmarks=pairs, port=port) as viewer:
        try:
            echo_line(f"{folder} is shown at {viewer.url}")
            echo_line("Ctrl-C ends it.")
            with _opened(viewer.url) if browser and _has_screen() else nullcontext():
                viewer.serve()
        except KeyboardInterrupt:
            echo("\nStopped.")


@contextmanager
def _opened(url: str) -> Iterator[None]:
    """Open the page through a file that leads to it and that this user alone can read, and is there as long as this.

    The browser gets its first address as an argument, and the arguments of a program are there for all users to see.
    """
    with tempfile.TemporaryDirectory(prefix="nephi-view-") as folder:  # mode 0700
        path = Path(folder, "open.html")
        path.touch(mode=0o600)
        address = html.escape(url)
        path.write_text(
            f'<!doctype html>\n<meta charset="utf-8">\n<meta http-equiv="refresh" content="0; url={address}">\n'
            f'<title>nephi</title>\n<a href="{address}">To the viewer</a>\n',
            encoding="utf-8",
        )
        webbrowser.open(path.as_uri())
        yield


def _has_screen() -> bool:
    """Tell whether a window can open; without one, Python may start a text browser in this terminal."""
    return not sys.platform.startswith("linux") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
