"""The `nephi` command as a process of its own."""

from __future__ import annotations

import gc

from .main import main

COLLECT_AFTER = 1_000_000  # objects that a collector would look through: more than importing torch leaves behind


def run() -> None:
    """Run `main` in a process that does nothing else, and let it end quickly.

    Python's collector looks for objects that hold each other, again and again through all that torch's modules consist
    of, and once more when the process ends: a second in all. Images and fields are no such objects, they go when the
    last reference does, so that here it is called far less often, and at the end not at all.
    """
    gc.set_threshold(COLLECT_AFTER)
    try:
        main()
    finally:
        gc.freeze()
