"""The `nephi` command as a process of its own: standard streams, supervision, exit code."""

from __future__ import annotations

import gc
import io
import os
import sys
from typing import Any, TextIO

from .supervision import JOURNAL_VARIABLE, end_with_parent, is_supervised, supervise

COLLECTOR_THRESHOLD = 1_000_000  # objects; more than importing torch creates
# Threads of torch that wait sleep. By default they spin: beside any other busy process, on a machine with as many cores
# as threads, training was measured to be a hundred times slower. Read when torch is imported.
SLEEPING_THREADS = ("OMP_WAIT_POLICY", "PASSIVE")
OUTPUT_LOST = 1
INTERRUPTED = 130
DESCRIPTORS = (0, 1, 2)


def run() -> None:
    """Run `main` in a process that does nothing else, and exit quickly.

    The garbage collector searches all of torch's modules for reference cycles, several times during their import and
    once more at exit: a second in all. Images and fields form no cycles and are freed by reference counting, so that
    the collector runs far less often in this process, and not at all at exit.
    """
    open_closed_descriptors()
    output, _ = replace_standard_streams()
    if is_supervised(sys.argv[1:]):
        sys.exit(supervise(sys.argv[1:]))
    if JOURNAL_VARIABLE in os.environ:
        end_with_parent()
    gc.set_threshold(COLLECTOR_THRESHOLD)
    os.environ.setdefault(*SLEEPING_THREADS)
    try:
        from .main import main  # only now: it imports libraries that open files

        main()
    except KeyboardInterrupt:  # during the imports
        sys.exit(INTERRUPTED)
    except SystemExit as exit_request:
        if not exit_request.code:
            _require_written(output)
        raise
    finally:
        gc.freeze()


class StandardOutput(io.FileIO):
    """A standard stream that drops what it cannot write; `failure` is the first error."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:  # any buffer
        """Write the data, or drop it if that fails."""
        try:
            return super().write(data)
        except BlockingIOError:
            raise
        except OSError as error:
            self.failure = self.failure or error
            return len(data)


def open_closed_descriptors() -> None:
    """Open closed standard descriptors (`2>&-`) as the null device.

    Otherwise the next file that is opened would become standard error, and receive what libraries print on it.
    """
    for number in DESCRIPTORS:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


def replace_standard_streams() -> tuple[StandardOutput, StandardOutput]:
    """Replace `sys.stdout` and `sys.stderr` by streams that drop what cannot be written; return their raw streams.

    Characters that the encoding lacks are written as `\\xff`, `\\u1234`.
    """
    raw = (StandardOutput(1, "w", closefd=False), StandardOutput(2, "w", closefd=False))
    sys.stdout, sys.stderr = (_text_stream(*pair) for pair in zip(raw, (sys.stdout, sys.stderr), strict=True))
    return raw


def _text_stream(raw: StandardOutput, replaced: TextIO | None) -> TextIO:
    encoding = replaced.encoding if replaced is not None else "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=True)


def _require_written(output: StandardOutput) -> None:
    """Exit with code 1 if standard output was lost; silently if the reader of a pipe closed it (`| head`)."""
    sys.stdout.flush()
    if output.failure is None:
        return
    if not isinstance(output.failure, BrokenPipeError):
        reason = output.failure.strerror or output.failure
        print(f"nephi: error: standard output: {reason}; all files were written", file=sys.stderr)
    sys.exit(OUTPUT_LOST)
