"""Readers with every fault that the fuzzer has to find, served as `tests.fuzz.server` serves nephi's."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

from nephi import DataError
from tests.fuzz.server import serve


def _read(path: Path) -> object:
    fault = path.read_text(encoding="utf-8")
    if fault == "crash":
        ctypes.string_at(0)
    if fault == "hang":
        time.sleep(1000)
    if fault == "traceback":
        raise KeyError(fault)
    if fault == "print":
        os.write(2, b"printed by a library\n")
    if fault == "memory":
        return bytearray(500 * 2**20)
    if fault == "address space":
        return bytearray(5 * 2**30)
    if fault == "exit":
        os._exit(3)
    if fault == "several lines":
        raise _TwoLines
    if fault == "refused":
        raise DataError(f"{path}: refused")
    return fault


class _TwoLines(DataError):
    def __str__(self) -> str:
        return "one\ntwo"


if __name__ == "__main__":
    serve({"broken": _read})
