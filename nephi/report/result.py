"""What reports and files of results read of a registration."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from nephi.fields import StoredTransform
from nephi.preparation import Pair
from nephi.runtime import Usage
from nephi.settings import Settings
from nephi.transforms import Transform


@runtime_checkable
class RegistrationResult(Protocol):
    """The part of `nephi.Registration` that reports draw and files hold; the class itself lives in a higher room.

    `transform` maps fixed to moving points (world mm, RAS), `inverse` moving to fixed points.
    """

    @property
    def stored(self) -> StoredTransform:
        """Content of `transform.nephi`."""

    @property
    def pair(self) -> Pair:
        """Both images, their masks and intensity windows."""

    @property
    def settings(self) -> Settings:
        """The settings of the registration, lengths in mm."""

    @property
    def seed(self) -> int:
        """Seed of the random points."""

    @property
    def history(self) -> list[dict[str, float]]:
        """The loss and its terms, one row for each step."""

    @property
    def usage(self) -> Usage:
        """Seconds of each stage."""

    @property
    def gpu_memory_mb(self) -> float | None:
        """Peak GPU memory in MB, None on the CPU."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Texts of the warnings about images, masks and result."""

    @property
    def transform(self) -> Transform:
        """Fixed points to moving points."""

    @property
    def inverse(self) -> Transform:
        """Moving points to fixed points."""
