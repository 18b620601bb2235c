"""Load the compiled library that suits the CPU, and choose the number of threads of its kernels."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

INTERFACE = 7  # the same as in common.h
# Libraries the CPU supports, fastest first, keyed by `get_cpu_capability()`; setup.py builds them.
LIBRARIES = {
    "AVX512": ("_native_avx512", "_native_avx2", "_native"),
    "AVX2": ("_native_avx2", "_native"),
}
VECTORS = {"_native_avx512": "AVX-512", "_native_avx2": "AVX2", "_native": "any processor"}
_chosen_threads: ContextVar[int | None] = ContextVar("_chosen_threads", default=None)


@cache
def library() -> ctypes.CDLL | None:
    """Return the fastest compiled library for this CPU; None where nephi was installed without a compiler."""
    for name in LIBRARIES.get(torch.backends.cpu.get_cpu_capability(), ("_native",)):
        native = load(name)
        if native is not None:
            return native
    return None


def load(name: str) -> ctypes.CDLL | None:
    """Load one of the libraries; return None where it is missing or belongs to another version of nephi."""
    spec = find_spec(f"nephi.kernels.{name}")
    if spec is None or spec.origin is None:
        return None
    try:
        native = ctypes.CDLL(spec.origin)
        address, count = ctypes.c_void_p, ctypes.c_int64
        native.nephi_field.argtypes = [address, count, address, address, address, count]
        native.nephi_field_gradient.argtypes = [address, address, count, address, address, address, address, count]
        native.nephi_invert.argtypes = [address, count, address, address, address, ctypes.c_float, count, count]
        native.nephi_adam.argtypes = [address, count, address, address, address, address, count]
        native.nephi_interpolate.argtypes = [address, count, address, address, address, count]
        native.nephi_interpolate_patches.argtypes = [address, address, count, *[address] * 5, count]
        native.nephi_patches_gradient.argtypes = [address, count, count, address, address, address, address, count]
        native.nephi_round_trip.argtypes = [address, address, address, address, address, count]
        native.nephi_similarity.argtypes = [address, address, address, address, address, address, count]
        native.nephi_objective.argtypes = [address, address, count]
        native.nephi_smooth.argtypes = [address, address, address, count]
        native.nephi_foreground_profiles.argtypes = [address, address, count]
        return native if native.nephi_interface() == INTERFACE else None
    except (OSError, AttributeError):  # built for another machine, or for another version of nephi
        return None


def available() -> bool:
    """Return whether compiled kernels can be used on this machine."""
    return library() is not None


def built_for() -> str | None:
    """Return the instruction set that the loaded kernels were built for, e.g. "AVX2"; None without kernels."""
    native = library()
    return None if native is None else VECTORS[Path(native._name).name.split(".")[0]]


@contextmanager
def kernel_threads(count: int) -> Iterator[None]:
    """Let kernels that are called in the `with` block by this thread use `count` threads, whatever torch uses."""
    token = _chosen_threads.set(count)
    try:
        yield
    finally:
        _chosen_threads.reset(token)


def threads() -> int:
    """Return the number of threads that a kernel uses at most: that of `kernel_threads`, outside of it that of torch.

    Results do not depend on it.
    """
    return _chosen_threads.get() or torch.get_num_threads()
