"""The compiled libraries, and running them on several threads."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

INTERFACE = 2  # that of common.h
WORTH_A_THREAD = 16_384  # points; fewer are done before a second thread has woken up
# The libraries that a processor understands, best first, by torch's word for it; setup.py builds them.
LIBRARIES = {
    "AVX512": ("_native_avx512", "_native_avx2", "_native"),
    "AVX2": ("_native_avx2", "_native"),
}
VECTORS = {"_native_avx512": "AVX-512", "_native_avx2": "AVX2", "_native": "any processor"}


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiled library for this processor; None where nephi was installed without a compiler."""
    for name in LIBRARIES.get(torch.backends.cpu.get_cpu_capability(), ("_native",)):
        found = load(name)
        if found is not None:
            return found
    return None


def load(name: str) -> ctypes.CDLL | None:
    """Return one of the libraries; None where it is not there, or does not fit this version of nephi."""
    found = find_spec(f"nephi.kernels.{name}")
    if found is None or found.origin is None:
        return None
    try:
        native = ctypes.CDLL(found.origin)
        address, count = ctypes.c_void_p, ctypes.c_int64
        native.nephi_field.argtypes = [address, count, address, address, address]
        native.nephi_field_gradient.argtypes = [address, address, count, address, address, address, address]
        native.nephi_invert.argtypes = [address, count, address, address, address, ctypes.c_float, count]
        native.nephi_adam.argtypes = [address, count, address, address, address, address]
        native.nephi_lookup.argtypes = [address, count, address, address, address]
        native.nephi_patches.argtypes = [address, address, count, address, address, address, address, address]
        native.nephi_patches_gradient.argtypes = [address, count, count, address, address, address, address]
        native.nephi_round_trip.argtypes = [address, address, address, address, address]
        native.nephi_similarity.argtypes = [address, address, address, address, address, address]
        native.nephi_smooth.argtypes = [address, address, address]
        native.nephi_survey.argtypes = [address, address]
        return native if native.nephi_interface() == INTERFACE else None
    except (OSError, AttributeError):  # built for another machine, or for another version of nephi
        return None


def available() -> bool:
    """Tell whether the kernels were built."""
    return library() is not None


def built_for() -> str | None:
    """Return what the loaded kernels were built for, in words; None without kernels."""
    native = library()
    return None if native is None else VECTORS[Path(native._name).name.split(".")[0]]


def over_points(work: Callable[[int, int], None], points: int) -> None:
    """Call `work(start, stop)` for ranges that make up all points, on as many threads as torch uses."""
    threads = min(torch.get_num_threads(), -(-points // WORTH_A_THREAD))
    if threads < 2:
        work(0, points)
        return
    size = -(-points // threads)
    with ThreadPoolExecutor(threads) as pool:  # the library's functions let go of the interpreter
        list(pool.map(lambda start: work(start, min(start + size, points)), range(0, points, size)))
