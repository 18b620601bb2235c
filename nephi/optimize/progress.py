"""What a running registration tells about itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """State of a running registration: the stage's name, steps done and planned in all stages, the latest loss."""

    stage: str
    step: int
    total: int
    loss: float


ProgressCallback = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """Tell nobody."""
