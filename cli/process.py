"""The `nephi` command as a process of its own."""

from __future__ import annotations

import gc
import os
import sys

from .journal import VARIABLE
from .streams import StandardOutput, open_closed_descriptors, replace_standard_streams
from .supervision import end_with_parent, is_supervised, supervise

COLLECT_AFTER = 1_000_000  # objects that a collector would look through: more than importing torch leaves behind
OUTPUT_LOST = 1
INTERRUPTED = 130


def run() -> None:
    """Run `main` in a process that does nothing else, and let it end quickly.

    Python's collector looks for objects that hold each other, again and again through all that torch's modules consist
    of, and once more when the process ends: a second in all. Images and fields are no such objects, they go when the
    last reference does, so that here it is called far less often, and at the end not at all.
    """
    open_closed_descriptors()
    output, _ = replace_standard_streams()
    if is_supervised(sys.argv[1:]):
        sys.exit(supervise(sys.argv[1:]))
    if VARIABLE in os.environ:
        end_with_parent()
    gc.set_threshold(COLLECT_AFTER)
    try:
        from .main import main  # after that: it loads libraries that open files

        main()
    except KeyboardInterrupt:  # while they are loaded
        sys.exit(INTERRUPTED)
    except SystemExit as ended:
        if not ended.code:
            _require_written(output)
        raise
    finally:
        gc.freeze()


def _require_written(output: StandardOutput) -> None:
    """End with code 1 when standard output was lost; the reader of a pipe that has left (`| head`) needs no message."""
    sys.stdout.flush()
    if output.failure is None:
        return
    if not isinstance(output.failure, BrokenPipeError):
        reason = output.failure.strerror or output.failure
        print(f"nephi: error: standard output: {reason}; all else is done", file=sys.stderr)
    sys.exit(OUTPUT_LOST)
