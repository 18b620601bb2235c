"""Interruption of a training by signals."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ECHO = 2.0  # s in which a second signal is the same request: torchrun forwards what the terminal has sent already


@contextmanager
def interruption() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether SIGINT or SIGTERM was received; a later one has its usual effect.

    Outside the main thread, which alone receives signals, the function always returns false.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    received: list[float] = []
    previous = {number: signal.getsignal(number) for number in SIGNALS}

    def handler(number: int, _: FrameType | None) -> None:
        received.append(time.monotonic())
        if received[-1] - received[0] > ECHO:
            signal.signal(number, previous[signal.Signals(number)])
            signal.raise_signal(number)

    for number in SIGNALS:
        signal.signal(number, handler)
    try:
        yield lambda: bool(received)
    finally:
        for number in SIGNALS:
            signal.signal(number, previous[number])
