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


@click.command(short_help="Show the results of a registration in the browser.")
@click.argument("folder", type=FILE, metavar="OUTDIR")
@click.option("-f", "--fixed", type=FILE, help="Path of the fixed image, if it has changed since the registration.")
@click.option("-m", "--moving", type=FILE, help="Path of the moving image, if it has changed since the registration.")
@click.option("--landmarks", type=FILE, metavar="F.csv", help="Landmark pairs to show, with their errors.")
@frame_option
@click.option("--fixed-labels", type=FILE, help="Mask or label map whose contours to show.  [default: the fixed mask]")
@click.option("--moving-labels", type=FILE, help="The same of the moving image, shown warped.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    default=0,
    show_default=True,
    help="Port of the local server, e.g. for a tunnel (ssh -L N:127.0.0.1:N); 0: any free port.",
)
@click.option("--browser/--no-browser", default=True, help="Open the page in the browser.  [default: --browser]")
def view(
    folder: Path,
    fixed: Path | None,
    moving: Path | None,
    landmarks: Path | None,
    frame: str,
    fixed_labels: Path | None,
    moving_labels: Path | None,
    port: int,
    browser: bool,
) -> None:
    """Show the results of `nephi register` in OUTDIR in the browser, until Ctrl-C.

    The page blends fixed, moving and warped image, or shows them as a checkerboard or side by side; overlays Jacobian
    determinant and displacement in colour, the deformation grid, and contours of masks or labels; and shows the values
    at the crosshair. Without --landmarks it shows the keypoints of a registration by keypoints, larger for larger
    weights. Its server accepts connections of this machine only, at a new secret address each time; nothing is loaded
    from the internet.

    \b
    nephi view result
    nephi view result --landmarks landmarks.csv
    """
    import nephi

    pairs = None if landmarks is None else nephi.read_point_pairs(landmarks, frame)
    labels = {"fixed_labels": fixed_labels, "moving_labels": moving_labels}
    with nephi.Viewer(folder, fixed=fixed, moving=moving, landmarks=pairs, port=port, **labels) as viewer:
        try:
            echo_line(f"{folder}: shown at {viewer.url}")
            echo_line("Press Ctrl-C to stop.")
            with _opened_page(viewer.url) if browser and _has_screen() else nullcontext():
                viewer.serve()
        except KeyboardInterrupt:
            echo("\nStopped.")


@contextmanager
def _opened_page(url: str) -> Iterator[None]:
    """Open the page through a file that redirects to it, readable by this user only and deleted after the block.

    The first address is an argument of the browser's process, and all users can read the arguments of processes.
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
    """Return whether a window can open; otherwise Python might start a text browser in this terminal."""
    return not sys.platform.startswith("linux") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
