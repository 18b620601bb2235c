"""Voxels in a memory-mapped file, which may be truncated while they are in use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from nephi.errors import DataError


@dataclass(frozen=True, eq=False)
class Mapping:
    """A file of which `length` bytes are mapped at `address`; `size` returns the file's current number of bytes."""

    name: str
    address: int
    length: int
    size: Callable[[], int]

    def contains(self, voxels: Tensor) -> bool:
        """Return whether the tensor's memory is the mapped file, not a copy of it."""
        return 0 <= voxels.data_ptr() - self.address < self.length

    def require_complete(self) -> None:
        """Raise `DataError` when the file was truncated: reading beyond its end would kill the process (SIGBUS)."""
        size = self.size()
        if size < self.length:
            raise DataError(
                f"{self.name}: expected a file of {self.length} bytes, found {size}: it was truncated while in use; "
                "write to another file, or copy the image first"
            )
