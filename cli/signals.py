"""Signals that end the command: unfinished files are removed first, as after Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# SIGTERM: kill, batch systems, service managers; SIGHUP: a terminal that was closed.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class Terminated(BaseException):
    """One of `SIGNALS` has arrived. Like `KeyboardInterrupt` no `Exception`: not to be caught on the way."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextmanager
def terminated_by_signals() -> Iterator[None]:
    """Raise `Terminated` in the block when one of `SIGNALS` arrives; further ones are ignored while files are removed.

    A signal that is ignored when the block begins (`nohup`) stays so. Outside of the main thread, where signals do not
    arrive, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    handled = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]

    def terminate(number: int, _: FrameType | None) -> None:
        for each in handled:
            signal.signal(each, signal.SIG_IGN)
        raise Terminated(number)

    for number in handled:
        signal.signal(number, terminate)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])
