"""Voxels that are a file mapped into memory: the file may be cut while they are in use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from nephi.errors import DataError

if TYPE_CHECKING:
    from nephi.images.image import Image


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


class Voxels:
    """The attribute `data` of `Image`: every pass over the voxels starts there, and verifies the file behind them."""

    def __get__(self, image: Image | None, kind: Any = None) -> Tensor:
        if image is None:
            raise AttributeError("data")  # a dataclass looks here for a default, and finds none
        data: Tensor = image.__dict__["_data"]
        mapping = image.mapping
        if mapping is not None and mapping.holds(data):
            mapping.require_whole()
        return data

    def __set__(self, image: Image, data: Tensor) -> None:
        image.__dict__["_data"] = data
