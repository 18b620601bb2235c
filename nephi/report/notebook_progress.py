"""A progress bar in notebooks: shown by itself, removed at the end.

Commands draw their own bar in the terminal. IPython is no dependency: in a notebook it is loaded already.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from nephi.runtime import Progress, ProgressCallback, ignore_progress

INTERVAL = 0.2  # seconds between updates: each is a message to the browser


@contextmanager
def progress_shown(progress: ProgressCallback | bool) -> Iterator[ProgressCallback]:
    """Yield the callback `progress`, or for True one that draws a bar in a notebook; False and elsewhere: none."""
    if callable(progress):
        yield progress
        return
    display = notebook_display() if progress else None
    if display is None:
        yield ignore_progress
        return
    bar = NotebookBar(display)
    try:
        yield bar
    finally:
        bar.close()


def notebook_display() -> Any | None:
    """Return the module `IPython.display` in a notebook; None in a terminal, a script, or without IPython."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    return sys.modules.get("IPython.display")


class NotebookBar:
    """A `ProgressCallback` that draws stage, fraction, loss and remaining time below the running cell."""

    def __init__(self, display: Any) -> None:
        self._display = display
        self._start = self._drawn = time.monotonic()
        self._handle = display.display(display.HTML(bar_html(None, 0.0)), display_id=True)

    def __call__(self, progress: Progress) -> None:
        """Draw the bar, at most every `INTERVAL` seconds."""
        now = time.monotonic()
        if now - self._drawn >= INTERVAL or progress.step >= progress.total:
            self._drawn = now
            self._update(bar_html(progress, now - self._start))

    def close(self) -> None:
        """Remove the bar."""
        self._update("")

    def _update(self, html: str) -> None:
        if self._handle is not None:
            self._handle.update(self._display.HTML(html))


def bar_html(progress: Progress | None, seconds: float) -> str:
    """Return the bar after so many seconds; without a progress, that of the preparation, whose length is unknown."""
    if progress is None:
        return '<progress aria-label="progress"></progress> prepare'
    fraction = progress.step / progress.total if progress.total else 1.0
    remaining = f", {seconds * (1 - fraction) / fraction:.0f} s left" if fraction > 0 else ""
    text = f"{escape(progress.stage)} {100 * fraction:.0f} %, loss {progress.loss:.4f}{remaining}"
    return f'<progress aria-label="progress" value="{fraction:.4f}" max="1"></progress> {text}'
