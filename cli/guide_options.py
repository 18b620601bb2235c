"""Options of `nephi register` for landmarks and labels that guide the registration."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import Command
from .point_options import read_landmarks

if TYPE_CHECKING:
    from nephi import Image, PointPairs, Settings

Weighted = tuple[Path, float | None]


@dataclass(frozen=True)
class GuideOptions:
    """Values of `--guide-landmarks` and `--guide-labels`; a weight is None where the user gave none."""

    landmarks: Weighted | None = None
    labels: tuple[Path, Weighted] | None = None

    @property
    def names(self) -> list[str]:
        """The options that the user gave."""
        values = {"--guide-landmarks": self.landmarks, "--guide-labels": self.labels}
        return [name for name, value in values.items() if value is not None]

    @property
    def files(self) -> list[Path]:
        """All files of the options."""
        landmarks = [] if self.landmarks is None else [self.landmarks[0]]
        return landmarks + ([] if self.labels is None else [self.labels[0], self.labels[1][0]])

    def weighted(self, settings: Settings) -> Settings:
        """Return the settings with the weights of the options."""
        guidance = settings.guidance
        if self.landmarks is not None and self.landmarks[1] is not None:
            guidance = replace(guidance, landmarks=self.landmarks[1])
        if self.labels is not None and self.labels[1][1] is not None:
            guidance = replace(guidance, labels=self.labels[1][1])
        return replace(settings, guidance=guidance)

    def read(self, frame: str, images: Sequence[Image]) -> dict[str, Any]:
        """Read the landmarks and return the arguments of `nephi.register`; `frame` is that of the landmarks."""
        landmarks: PointPairs | None = read_landmarks(self.landmarks[0], frame, images) if self.landmarks else None
        labels = None if self.labels is None else (self.labels[0], self.labels[1][0])
        return {name: value for name, value in (("guide_landmarks", landmarks), ("guide_labels", labels)) if value}


def guide_options(command: Command) -> Command:
    """Add `--guide-landmarks` and `--guide-labels`, passed to the command as `guide`."""

    @functools.wraps(command)
    def wrapper(
        *arguments: Any, guide_landmarks: str | None, guide_labels: tuple[str, str] | None, **options: Any
    ) -> Any:
        landmarks = None if guide_landmarks is None else split_weight(guide_landmarks, "--guide-landmarks")
        labels = (
            None if guide_labels is None else (Path(guide_labels[0]), split_weight(guide_labels[1], "--guide-labels"))
        )
        return command(*arguments, guide=GuideOptions(landmarks, labels), **options)

    with_landmarks = click.option(
        "--guide-landmarks",
        metavar="F.csv[:WEIGHT]",
        help="Landmark pairs that pull the deformation; a few wrong ones lose their influence and are reported.  "
        "[default weight: 0.3]",
    )
    with_labels = click.option(
        "--guide-labels",
        nargs=2,
        metavar="FIXED MOVING[:WEIGHT]",
        help="Label maps of both images, on any grids, whose overlap is increased.  [default weight: 1]",
    )
    return with_landmarks(with_labels(wrapper))


def split_weight(value: str, option: str) -> Weighted:
    """Split `FILE:WEIGHT`; the weight is None without one. A file that has the whole name takes precedence.

    Raises `UsageError` naming the option for a weight that is not above 0.
    """
    path, colon, word = value.rpartition(":")
    try:
        weight = float(word)
    except ValueError:
        return Path(value), None
    if not colon or not path or Path(value).exists():
        return Path(value), None
    from nephi import UsageError

    if not 0 < weight < float("inf"):
        raise UsageError(f"{option}: expected a finite weight above 0 after the colon, got {word}")
    return Path(path), weight
