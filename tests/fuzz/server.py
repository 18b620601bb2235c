"""The process that reads mutated files: it waits with everything imported, and forks a reader that may die.

Protocol, one JSON object a line. In: `{"reader": NAME, "path": PATH}`. Out: `{"pid": ...}` when a reader is ready;
`{"outcome": "read" | "refused" | "several lines" | "traceback", "text": ..., "digest": ..., "seconds": ...,
"mebibytes": ...}` after a file; `{"outcome": "died", "text": SIGNAL}` when the reader is gone.
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import importlib
import json
import os
import resource
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

import nephi

SPACE = 2**31  # bytes of address space that a reader may take beside those it starts with
Readers = dict[str, Callable[[Path], object]]
READERS: Readers = {
    "image": nephi.read_image,
    "series": lambda path: list(nephi.io.read_series(path)),
    "transform": nephi.read_transform,
    "greedy": lambda path: nephi.read_transform(path, nephi.io.FieldConvention("greedy")),
    "points": nephi.read_points,
    "point pairs": nephi.read_point_pairs,
    "label names": nephi.io.read_label_names,
    "cohort": nephi.datasets.read_pairs,
    "settings": lambda path: nephi.read_settings(path, nephi.preset_names()[0]),
    "train settings": nephi.training.read_train_settings,
    "index": nephi.datasets.read_dataset_index,
    "model": nephi.read_model,
}


def serve(readers: Readers) -> None:
    """Keep one reader alive until there are no more requests."""
    out = os.dup(1)
    os.dup2(2, 1)  # what is printed to either is a finding
    torch.set_num_threads(1)
    for name in ("h5py", "nibabel", "pydicom", "SimpleITK", "isal.isal_zlib"):  # so that every fork has them
        with suppress(ImportError):
            importlib.import_module(name)
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)  # Python 3.12 of fork
    gc.freeze()  # or else each collection in a reader goes through all modules
    while True:
        pid = os.fork()
        if pid == 0:
            _read_files(readers, out)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            return
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}"
        _send(out, outcome="died", text=how)


def _send(out: int, **answer: Any) -> None:
    os.write(out, (json.dumps(answer) + "\n").encode())


def _read_files(readers: Readers, out: int) -> None:
    warnings.simplefilter("ignore", nephi.DataWarning)
    used = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + SPACE, used + SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _send(out, pid=os.getpid())
    while request := _line():
        _send(out, **_answer(readers, json.loads(request)))


def _line() -> bytes:
    """Return the next line of stdin, which is read byte by byte: the next reader has to find the rest."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return b""
        line += byte
    return line


def _answer(readers: Readers, request: dict[str, str]) -> dict[str, Any]:
    with suppress(OSError):  # not allowed in some containers: then the peak is that of the reader's life
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before, start, digest = _peak(), time.process_time(), ""
    try:
        digest = _digest(readers[request["reader"]](Path(request["path"])))
        outcome, text = "read", ""
    except nephi.NephiError as error:
        text = str(error)
        outcome = "refused" if len(text.splitlines()) == 1 else "several lines"
    except BaseException:
        outcome, text = "traceback", traceback.format_exc()
    seconds, mebibytes = time.process_time() - start, (_peak() - before) / 1024
    gc.collect()
    return {"outcome": outcome, "text": text[-3000:], "digest": digest, "seconds": seconds, "mebibytes": mebibytes}


def _peak() -> int:
    """Return the most memory in KiB that was resident since the last reset."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _digest(value: object) -> str:
    """Return a hash of the numbers and texts in what a reader returned."""
    digest = hashlib.sha256()

    def add(part: object, depth: int) -> None:
        if isinstance(part, torch.Tensor):
            digest.update(np.ascontiguousarray(part.detach().cpu().numpy()).tobytes())
        elif dataclasses.is_dataclass(part) and depth < 6:
            for each in dataclasses.fields(part):
                if each.name not in ("name", "warnings"):
                    add(getattr(part, each.name), depth + 1)
        elif isinstance(part, list | tuple) and depth < 6:
            for item in part:
                add(item, depth + 1)
        elif isinstance(part, str | int | float):
            digest.update(repr(part).encode())

    add(value, 0)
    for name in ("displacement", "matrix"):  # transforms
        add(getattr(value, name, None), 0)
    return digest.hexdigest()


if __name__ == "__main__":
    serve(READERS)
