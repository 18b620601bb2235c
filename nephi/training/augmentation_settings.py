"""The settings of the random changes of training images."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from nephi.errors import UsageError
from nephi.settings.validation import require_above, require_at_least, require_one_of

LARGEST_LOGARITHM = 10  # its exponential, 22026, is finite, and beyond any image
AUGMENTED = ("each", "moving")
WARPS = ("rotation", "scale", "shear", "shift", "elastic")
STEEPEST = 0.15  # standard deviation of a random displacement, relative to the distance of its nodes


@dataclass(frozen=True)
class WarpSettings:
    """A random map of an image's points; 0 for the identity.

    rotation, scale, shear, shift: an affine map, each number uniform between minus and plus this value; degrees,
        natural logarithm, slope, mm. In 3-D the axis of the rotation is uniform on the sphere and its angle uniform:
        with `rotation = 180` a quarter of the rotations are below 45 degrees, of uniformly distributed ones 2.5 %.
    elastic: standard deviation in mm of a displacement at nodes `elastic_spacing` mm apart, interpolated
        linearly between them.
    """

    table: ClassVar[str] = "augmentation.both"

    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    elastic: float = 0.0
    elastic_spacing: float = 60.0

    def __post_init__(self) -> None:
        self._require_finite("shear", "shift", "elastic")
        require_at_least(self.table, 0, high=180, rotation=self.rotation)
        require_at_least(self.table, 0, high=LARGEST_LOGARITHM, scale=self.scale)
        self._require_below_one("shear")
        require_above(self.table, 0, elastic_spacing=self.elastic_spacing)
        if self.steepness > STEEPEST:
            raise UsageError(
                f"{self.table}.elastic: expected at most {STEEPEST} elastic_spacing, beyond which images fold, got "
                f"elastic {self.elastic:g} and elastic_spacing {self.elastic_spacing:g}"
            )

    def scaled(self, factor: float) -> Self:
        """Return the settings of maps that are weaker by a factor from 0 to 1."""
        return replace(self, **{name: factor * getattr(self, name) for name in WARPS})

    @property
    def steepness(self) -> float:
        """Standard deviation of the nodes' displacements, relative to their distance."""
        return self.elastic / self.elastic_spacing

    def _require_finite(self, *names: str) -> None:
        require_at_least(self.table, 0, **{name: getattr(self, name) for name in names})

    def _require_below_one(self, name: str) -> None:
        if getattr(self, name) >= 1:
            raise UsageError(f"{self.table}.{name}: expected a number below 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class AugmentationSettings(WarpSettings):
    """Random changes of the training images; 0 and false leave them unchanged.

    Each image is warped by a map of its own, which simulates other motion. Both images of a pair are also warped by a
    shared map, with the same settings in the table `both`, which simulates other anatomy. The displacements of the two
    add up.

    rotation, scale, shear, shift: the affine part of an image's own map, each number uniform between minus and plus
        this value; degrees, natural logarithm, slope, mm.
    elastic: standard deviation in mm of a displacement of an image's own, at nodes `elastic_spacing` mm apart and
        linear between them.
    images: whether `each` image of a pair or the `moving` one only has a map of its own and other intensities.
    ramp: fraction of the training's steps over which all maps, those of `both` included, grow linearly from the
        identity to their full size; 0 for full size from the start.
    flip, permute: mirror axes, and exchange axes, in the same way for both images of a pair.
    gamma, contrast, brightness: `c * v ** g + b` of each image, in intensities from 0 to 1: the natural logarithm of g
        is uniform up to gamma, c up to contrast away from 1, b up to brightness away from 0.
    noise: Gaussian noise of a standard deviation up to this value, in intensities from 0 to 1.
    """

    table: ClassVar[str] = "augmentation"

    flip: bool = False
    permute: bool = False
    gamma: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    noise: float = 0.0
    images: str = "each"
    ramp: float = 0.0
    both: WarpSettings = WarpSettings()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_finite("contrast", "brightness", "noise")
        require_at_least(self.table, 0, high=LARGEST_LOGARITHM, gamma=self.gamma)
        self._require_below_one("contrast")
        require_one_of("augmentation.images", self.images, AUGMENTED)
        if not 0 <= self.ramp <= 1:
            raise UsageError(f"augmentation.ramp: expected a fraction of the steps from 0 to 1, got {self.ramp}")
        if math.hypot(self.steepness, self.both.steepness) > STEEPEST:
            raise UsageError(
                f"{self.table}.elastic: expected a^2 + b^2 of at most {STEEPEST}^2, beyond which images fold, where "
                f"a is elastic / elastic_spacing of this table and b that of {self.both.table}; got "
                f"a = {self.steepness:g} and b = {self.both.steepness:g}"
            )

    def at(self, progress: float) -> AugmentationSettings:
        """Return the settings after a fraction of the training's steps, from 0 to 1."""
        if progress >= self.ramp:
            return self
        factor = progress / self.ramp
        return replace(self.scaled(factor), both=self.both.scaled(factor))

    def of_fixed(self) -> AugmentationSettings:
        """Return the settings of what the fixed image does not share with the moving one."""
        return self if self.images == "each" else AugmentationSettings(elastic_spacing=self.elastic_spacing)

    def moving_parts(self) -> list[str]:
        """Return the names of the settings that move an image's points."""
        names = [name for name in ("flip", "permute", *WARPS) if getattr(self, name)]
        return names + [f"both.{name}" for name in WARPS if getattr(self.both, name)]
