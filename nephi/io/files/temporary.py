"""Temporary folders that carry the identity of their process, so that those of dead processes can be removed."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nephi.io.files.uninterrupted import uninterrupted

PREFIX = ".nephi-"
MARK = re.compile(rf"{re.escape(PREFIX)}([0-9a-f]{{12}})-([0-9a-f]{{8}})-(\d+)-(\d+)-\w+")
HOST_NAMESPACE = "pid:[4026531836]"  # of processes outside of containers, see Linux' include/uapi/linux/nsfs.h


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a new hidden folder in `parent`, and remove it at the end.

    Its name holds host, boot, process id and start time of this process: should the process be killed, the next one
    that writes into `parent` removes it. Raises `OSError` when it cannot be made.
    """
    mark = f"{_host()}-{_boot()}-{os.getpid()}-{_started(os.getpid())}"
    folder = None
    try:
        with uninterrupted():
            folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{mark}-", dir=parent))
        yield folder
    finally:
        with uninterrupted():
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


def abandoned_folders(parent: Path) -> list[Path]:
    """Return the temporary folders in `parent` whose process is gone; those of other hosts and users are left out."""
    if os.name != "posix":  # elsewhere os.kill would end the process instead of looking for it
        return []
    with suppress(OSError), os.scandir(parent) as entries:
        return sorted(Path(entry.path) for entry in entries if _is_abandoned(entry))
    return []


def _is_abandoned(entry: os.DirEntry[str]) -> bool:
    mark = MARK.fullmatch(entry.name)
    if mark is None or not entry.is_dir(follow_symlinks=False):
        return False
    host, boot, process, started = mark.groups()
    if host != _host() or entry.stat(follow_symlinks=False).st_uid != os.geteuid():
        return False
    return boot != _boot() or not _is_alive(int(process), int(started))


def _is_alive(process: int, started: int) -> bool:
    """Return whether the process runs that had this id and start time; an id alone may belong to a later process."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # of another user
        pass
    return started in (0, _started(process))


def _started(process: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 where the system does not report it."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        return int(status.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def _host() -> str:
    """Return an identifier of this machine and this namespace of process ids."""
    return _digest(platform.node(), _content("/etc/machine-id"), _namespace())[:12]


def _boot() -> str:
    """Return an identifier of this boot; inside of containers always the same one."""
    return _digest(_content("/proc/sys/kernel/random/boot_id") if _namespace() == HOST_NAMESPACE else "")[:8]


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _content(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode("utf-8", "surrogateescape")).hexdigest()
