"""Blocks that SIGINT and SIGTERM do not interrupt."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back signals that end the process until the block ends; outside of the main thread none arrive."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)

    before = {int(number): signal.getsignal(number) for number in SIGNALS}
    try:
        for number, handler in before.items():
            if handler is not None:  # None: installed by something that is not Python
                signal.signal(number, note)
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
        for number in received[:1]:
            signal.raise_signal(number)
