"""Temporary folders that later processes remove if theirs was killed, and blocks that signals cannot interrupt."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

PREFIX = ".nephi-"
FOLDER_NAME = re.compile(rf"{re.escape(PREFIX)}([0-9a-f]{{12}})-([0-9a-f]{{8}})-(\d+)-(\d+)-\w+")
HOST_NAMESPACE = "pid:[4026531836]"  # of processes outside of containers: Linux, include/uapi/linux/nsfs.h
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Create a hidden folder in `parent`, yield it, and remove it at the end.

    Its name identifies host, boot, process and start time. If the process is killed, the next one that writes into
    `parent` removes the folder. Raises `OSError` when it cannot be created.
    """
    owner = f"{_host()}-{_boot()}-{os.getpid()}-{_start_time(os.getpid())}"
    folder = None
    try:
        with deferred_signals():
            folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{owner}-", dir=parent))
        yield folder
    finally:
        with deferred_signals():
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


def abandoned_folders(parent: Path) -> list[Path]:
    """Return the temporary folders in `parent` whose process has ended, except those of other hosts and users."""
    if os.name != "posix":  # on Windows os.kill(process, 0) ends the process
        return []
    with suppress(OSError), os.scandir(parent) as entries:
        return sorted(Path(entry.path) for entry in entries if _is_abandoned(entry))
    return []


def _is_abandoned(entry: os.DirEntry[str]) -> bool:
    owner = FOLDER_NAME.fullmatch(entry.name)
    if owner is None or not entry.is_dir(follow_symlinks=False):
        return False
    host, boot, process, start_time = owner.groups()
    if host != _host() or entry.stat(follow_symlinks=False).st_uid != os.geteuid():
        return False
    return boot != _boot() or not _is_alive(int(process), int(start_time))


def _is_alive(process: int, start_time: int) -> bool:
    """Return whether the process of this id and start time runs; the id alone may belong to a later process."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # a process of another user
        pass
    return start_time in (0, _start_time(process))


def _start_time(process: int) -> int:
    """Return the start time of a process in clock ticks since boot; 0 if the system does not report it."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        return int(status.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def _host() -> str:
    """Return an identifier of this machine and its namespace of process ids."""
    return _digest(platform.node(), _read_text("/etc/machine-id"), _namespace())[:12]


def _boot() -> str:
    """Return an identifier of this boot; the same for all boots inside a container."""
    return _digest(_read_text("/proc/sys/kernel/random/boot_id") if _namespace() == HOST_NAMESPACE else "")[:8]


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode("utf-8", "surrogateescape")).hexdigest()


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Defer SIGINT, SIGTERM and SIGHUP until the block ends; does nothing outside of the main thread.

    Python delivers signals to the main thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def record(number: int, _: FrameType | None) -> None:
        received.append(number)

    handlers = {int(number): signal.getsignal(number) for number in SIGNALS}
    try:
        for number, handler in handlers.items():
            if handler is not None:  # None: installed by other code than Python's
                signal.signal(number, record)
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not None:
                signal.signal(number, handler)
        for number in received[:1]:
            signal.raise_signal(number)
