"""Replace a set of files and be killed at each step (test_commit.py).

Run as `python -m tests.io.files.commit_kills FOLDER SIGNAL`.

For every step a copy of the folder `FOLDER/before` is made (`FOLDER/1/out`, ...), or none where that is missing, and a
fork of this process replaces its files and sends itself the signal at that step. Prints steps and exit codes.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

NAMES = ("a", "b", "stale", "seal")
STEPS = ("replace", "rename", "mkdir", "rmdir", "unlink", "symlink")
TERMINATED = 7


def counted(stop: int, number: int) -> Callable[[Any], Any]:
    """Return a wrapper of functions that sends the signal before the call of that number (of all wrapped ones)."""
    calls = 0

    def wrap(function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == stop:
                os.kill(os.getpid(), number)
            return function(*arguments, **options)

        return call

    return wrap


def replace_in(folder: Path, stop: int, number: int) -> None:
    from nephi.io import replacing_files

    wrap = counted(stop, number)
    for name in STEPS:
        setattr(os, name, wrap(getattr(os, name)))
    write = wrap(Path.write_text)
    with replacing_files(folder, NAMES) as work:
        for name in ("a", "b", "seal"):
            write(work / name, "new")


def terminate(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(TERMINATED)


def main() -> None:
    import nephi.io  # noqa: F401 (once, before the forks)

    root, number = Path(sys.argv[1]), int(sys.argv[2])
    for stop in range(1, 200):
        folder = root / str(stop) / "out"
        folder.parent.mkdir()
        if (root / "before").is_dir():
            shutil.copytree(root / "before", folder, symlinks=True)
        if (child := os.fork()) == 0:
            signal.signal(signal.SIGTERM, terminate)
            code = 0
            try:
                replace_in(folder, stop, number)
            except SystemExit:
                code = TERMINATED
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(stop, code, flush=True)
        if code == 0:
            return


if __name__ == "__main__":
    main()
