"""Voxels that are a file mapped into memory: the file may be cut while they are in use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from nephi.errors import DataError


@dataclass(frozen=True, eq=False)
class Mapping:
    """A file mapped at `address`, `length` bytes of it; `size` returns how many bytes the file has now."""

    name: str
    address: int
    length: int
    size: Callable[[], int]

    def holds(self, voxels: Tensor) -> bool:
        """Return whether a tensor shows the mapped bytes; a copy of them does not."""
        return 0 <= voxels.data_ptr() - self.address < self.length

    def require_whole(self) -> None:
        """Raise `DataError` when the file was cut: reading beyond its end would kill the process (SIGBUS)."""
        found = self.size()
        if found < self.length:
            raise DataError(
                f"{self.name}: expected a file of {self.length} bytes, found {found}: it was shortened while it was in "
                "use; write to another file, or copy the image first"
            )
