"""Signals that terminate the command: unfinished files are removed first, as after Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# SIGTERM: kill, batch systems, service managers; SIGHUP: a closed terminal.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class Terminated(BaseException):
    """One of `SIGNALS` was received. No `Exception`, like `KeyboardInterrupt`: nothing in between may catch it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextmanager
def terminated_by_signals() -> Iterator[None]:
    """Raise `Terminated` in the block when one of `SIGNALS` is received; ignore further ones while files are removed.

    A signal that is ignored when the block begins (`nohup`) stays ignored. Outside of the main thread, which alone
    receives signals in Python, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    replaced = [number for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)]

    def terminate(number: int, _: FrameType | None) -> None:
        for each in replaced:
            signal.signal(each, signal.SIG_IGN)
        raise Terminated(number)

    for number in replaced:
        signal.signal(number, terminate)
    try:
        yield
    finally:
        for number in replaced:
            signal.signal(number, handlers[number])
