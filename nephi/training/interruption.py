"""Being asked to stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ECHO = 2.0  # s in which a further signal is the same wish: torchrun passes on what the terminal has sent already


@contextmanager
def interruption() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether SIGINT or SIGTERM has come; one that comes later again acts as it always does.

    Outside of the main thread, where signals cannot be received, it is always false.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    received: list[float] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, _: FrameType | None) -> None:
        received.append(time.monotonic())
        if received[-1] - received[0] > ECHO:
            signal.signal(number, before[signal.Signals(number)])
            signal.raise_signal(number)

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield lambda: bool(received)
    finally:
        for number in SIGNALS:
            signal.signal(number, before[number])
