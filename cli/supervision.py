"""A cohort in a process of its own: a crash in a library costs the pair that was being read, not those after it.

The process above imports no torch: it costs a fifth of a second and 30 MB. It starts the command once more, waits, and
where that process was killed by a signal, notes the pair as failed and starts it again for the pairs that are left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from .journal import VARIABLE, Journal
from .printing import echo_line

# -P and the same path: modules come from where they came from here, not from the working folder.
PROGRAM = "import sys; sys.path[:] = {path!r}; from nephi.cli.process import run; run()"
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if os.name == "posix" else ()
PARENT_DEATH = 1  # PR_SET_PDEATHSIG of Linux' prctl


def is_supervised(arguments: Sequence[str]) -> bool:
    """Return whether a command runs in a process of its own: cohorts do, where this process is not that one already."""
    asks_for_help = any(each in ("-h", "--help") for each in arguments)
    possible = os.name == "posix" and bool(sys.executable) and VARIABLE not in os.environ
    return possible and arguments[:1] == ["predict"] and not asks_for_help


def supervise(arguments: Sequence[str]) -> int:
    """Run `nephi ARGUMENTS` in another process, again after each crash; return the exit code of the last one."""
    with tempfile.TemporaryFile() as file:
        journal = Journal(file.fileno())
        while True:
            code, stopped = _run(arguments, file.fileno())
            if code >= 0:
                return code
            unfinished = journal.unfinished()
            if stopped or unfinished is None:
                if not stopped:
                    echo_line(f"nephi: error: the process crashed ({_named(-code)})", err=True)
                return 128 - code
            pair, step = unfinished
            error = f"the process crashed ({_named(-code)}) while {step}"
            echo_line(f"nephi: pair {pair['pair']}: {error}", err=True)
            journal.finish({**pair, "error": error})


def _run(arguments: Sequence[str], journal: int) -> tuple[int, bool]:
    """Run the command once; return its exit code, minus n when signal n ended it, and whether this process got one."""
    command = [sys.executable, "-P", "-c", PROGRAM.format(path=sys.path), *arguments]
    environment = {**os.environ, VARIABLE: str(journal)}
    # A group of its own: Ctrl-C reaches this process alone, which passes it on once.
    process = subprocess.Popen(command, env=environment, pass_fds=[journal], process_group=0)
    with _passing_on(process) as received:
        code = process.wait()
    return code, bool(received)


@contextmanager
def _passing_on(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Pass signals on to a process while the block runs, a stop (Ctrl-Z) too; yield the list of those that end it."""
    received: list[int] = []

    def forward(number: int, _: FrameType | None) -> None:
        received.append(number)
        process.send_signal(number)

    def stop(_: int, __: FrameType | None) -> None:
        process.send_signal(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        process.send_signal(signal.SIGCONT)  # from here on once this process is continued

    before = {number: signal.getsignal(number) for number in (*FORWARDED, signal.SIGTSTP)}
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, stop if number == signal.SIGTSTP else forward)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_with_parent() -> None:
    """Let the system end this process with SIGTERM when the one above it dies (Linux; elsewhere it runs to its end).

    In its own group it counts as a background process, which `stty tostop` would stop when it prints: not this one.
    """
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(PARENT_DEATH, int(signal.SIGTERM), 0, 0, 0)


def _named(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = "unknown"
    return f"signal {number}, {name}"
