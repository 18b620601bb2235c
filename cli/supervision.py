"""`nephi predict` in a subprocess: a crash of a library costs the pair being registered, not the following pairs.

The parent process imports no torch (0.2 s, 30 MB). It starts the command again as a subprocess and waits; if the
subprocess is killed by a signal, it records the pair as failed and starts a subprocess for the remaining pairs. The
journal, an open file that both processes share, outlives the subprocess.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from .printing import echo_line

JOURNAL_VARIABLE = "NEPHI_JOURNAL"  # environment variable with the journal's file descriptor
# -P and the same path: modules are imported from the same places as in this process, not from the working folder.
PROGRAM = "import sys; sys.path[:] = {path!r}; from nephi.cli.process import run; run()"
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if os.name == "posix" else ()
PARENT_DEATH = 1  # PR_SET_PDEATHSIG of Linux' prctl
Row = dict[str, Any]


@dataclass(frozen=True)
class Journal:
    """Record of steps and finished pairs, one JSON line each, in a shared open file; no file: `descriptor` is None."""

    descriptor: int | None

    @classmethod
    def inherited(cls) -> Journal:
        """Return the journal that the parent process opened, an empty one without a parent."""
        descriptor = os.environ.pop(JOURNAL_VARIABLE, None)
        return cls(int(descriptor) if descriptor else None)

    def begin(self, pair: Row, step: str) -> None:
        """Record the next step of a pair, identified by the first cells of its row."""
        self._write("step", [pair, step])

    def finish(self, row: Row) -> None:
        """Record the row of a finished or failed pair."""
        self._write("row", row)

    def rows(self) -> dict[str, Row]:
        """Return the recorded rows by the names of their pairs."""
        return {row["pair"]: row for kind, row in self._events() if kind == "row"}

    def unfinished(self) -> tuple[Row, str] | None:
        """Return the pair that was started and not finished, and its last step; None without one."""
        events = self._events()
        if not events or events[-1][0] != "step":
            return None
        pair, step = events[-1][1]
        return pair, step

    def _write(self, kind: str, content: Any) -> None:
        if self.descriptor is not None:
            os.write(self.descriptor, f"{json.dumps([kind, content])}\n".encode())

    def _events(self) -> list[tuple[str, Any]]:
        if self.descriptor is None:
            return []
        text = os.pread(self.descriptor, os.fstat(self.descriptor).st_size, 0).decode()
        return [(kind, content) for kind, content in map(json.loads, text.splitlines())]


def is_supervised(arguments: Sequence[str]) -> bool:
    """Return whether a command has to run in a subprocess: `nephi predict`, unless this process is the subprocess."""
    help_requested = any(argument in ("-h", "--help") for argument in arguments)
    supported = os.name == "posix" and bool(sys.executable) and JOURNAL_VARIABLE not in os.environ
    return supported and arguments[:1] == ["predict"] and not help_requested


def supervise(arguments: Sequence[str]) -> int:
    """Run `nephi ARGUMENTS` in a subprocess, again after each crash; return the exit code of the last one."""
    with tempfile.TemporaryFile() as file:
        journal = Journal(file.fileno())
        while True:
            code, stopped = _run_once(arguments, file.fileno())
            if code >= 0:
                return code
            unfinished = journal.unfinished()
            if stopped or unfinished is None:
                if not stopped:
                    echo_line(f"nephi: error: the process crashed ({_signal_name(-code)})", err=True)
                return 128 - code
            pair, step = unfinished
            error = f"the process crashed ({_signal_name(-code)}) while {step}"
            echo_line(f"nephi: pair {pair['pair']}: {error}", err=True)
            journal.finish({**pair, "error": error})


def _run_once(arguments: Sequence[str], journal: int) -> tuple[int, bool]:
    """Run the command once; return its exit code (-n after signal n) and whether this process received a signal."""
    command = [sys.executable, "-P", "-c", PROGRAM.format(path=sys.path), *arguments]
    environment = {**os.environ, JOURNAL_VARIABLE: str(journal)}
    # A process group of its own: Ctrl-C reaches only this process, which forwards it once.
    process = subprocess.Popen(command, env=environment, pass_fds=[journal], process_group=0)
    with _signals_forwarded(process) as received:
        code = process.wait()
    return code, bool(received)


@contextmanager
def _signals_forwarded(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Forward signals, also Ctrl-Z, to a process inside the block; yield the list of received terminating signals."""
    received: list[int] = []

    def forward(number: int, _: FrameType | None) -> None:
        received.append(number)
        process.send_signal(number)

    def stop(_: int, __: FrameType | None) -> None:
        process.send_signal(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        process.send_signal(signal.SIGCONT)  # runs when this process is continued

    handlers = {number: signal.getsignal(number) for number in (*FORWARDED, signal.SIGTSTP)}
    handlers = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}
    for number in handlers:
        signal.signal(number, stop if number == signal.SIGTSTP else forward)
    try:
        yield received
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def end_with_parent() -> None:
    """Request SIGTERM for this process when its parent dies (Linux; on other systems it runs to its end).

    Its process group is in the background, where `stty tostop` would stop it when it prints: SIGTTOU is ignored.
    """
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(PARENT_DEATH, int(signal.SIGTERM), 0, 0, 0)


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = "unknown"
    return f"signal {number}, {name}"
