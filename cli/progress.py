"""A progress bar on a terminal; silence in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nephi.optimize import Progress


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Give a callback that draws stage, loss and time left on standard error when that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description:10s}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("prepare", total=None, loss="")

        def show(progress: Progress) -> None:
            begins = bar.tasks[0].description != progress.stage
            bar.update(
                task,
                refresh=begins,  # a stage may end before the bar's own clock ticks
                description=progress.stage,
                completed=progress.step,
                total=progress.total,
                loss=f"{progress.loss:.4f}",
            )

        yield show
