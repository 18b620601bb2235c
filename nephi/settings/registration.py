"""The settings of one registration: frozen dataclasses whose fields are the keys of the TOML tables."""

from __future__ import annotations

from dataclasses import dataclass

from nephi.argument_types import checked_fields
from nephi.errors import UsageError
from nephi.fields import FieldSettings
from nephi.losses import similarity_factors
from nephi.settings.guidance import GuidanceSettings
from nephi.settings.objective import FitObjectiveSettings, check_weights
from nephi.settings.validation import (
    LARGEST,
    MOST_POINTS,
    MOST_STEPS,
    MOST_THREADS,
    SMALLEST,
    require_above,
    require_at_least,
    require_one_of,
)
from nephi.tables import short_repr

MIRRORED = "auto-mirrored"
SEARCHED = ("auto", MIRRORED)
INITIALS = (*SEARCHED, "moments", "centers", "none")
KINDS = ("none", "rigid", "affine")


@checked_fields
@dataclass(frozen=True)
class ImageSettings:
    """Intensities, and the mask of images without one.

    window: `(low, high)`, mapped to (0, 1); values beyond are clamped. Empty: the `percentiles` of each image's
        foreground (voxels above the minimum, inside the mask if there is one).
    percentiles: lower and upper percentile, 0 to 100, for an empty window.
    units: `HU` if the window is in Hounsfield units of CT, which warns of images in other units; empty for any units.
    outside: value of warped voxels outside the moving image; stored with the transform and used again when it is
        applied to other images. Label maps get 0.
    mask: mask of an image that is registered without one: `lungs` (segmented), `foreground` (voxels above the
        minimum), or `none` (the whole image).
    """

    window: tuple[float, ...] = ()
    percentiles: tuple[float, float] = (0.5, 99.5)
    units: str = ""
    outside: float = 0.0
    mask: str = "none"

    def __post_init__(self) -> None:
        if self.window and (len(self.window) != 2 or not -LARGEST <= self.window[0] < self.window[1] <= LARGEST):
            raise UsageError(f"image.window: expected two numbers, low below high, got {short_repr(self.window)}")
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise UsageError(f"image.percentiles: expected 0 <= low < high <= 100, got {self.percentiles}")
        if self.units not in ("", "HU"):
            raise UsageError(f"image.units: expected HU, or an empty text for any, got {self.units!r}")
        require_one_of("image.mask", self.mask, ("lungs", "foreground", "none"))
        if not abs(self.outside) <= LARGEST:
            raise UsageError(f"image.outside: expected a finite number of at most {LARGEST:g}, got {self.outside}")


@checked_fields
@dataclass(frozen=True)
class AffineSettings:
    """The global alignment before the deformable fit.

    kind: `affine`, `rigid` or `none` (the initial alignment only).
    initial: initial alignment: the best of several hypotheses, the headers included (`auto`), and their mirror images
        as well (`auto-mirrored`), of the centres of mass (`moments`), of the image centres (`centers`), or by the
        headers (`none`).
    rotations: number of initial rotations that are compared, at most `reach` degrees each (in 2-D as many as have the
        same spacing, with `auto` the whole circle); 1 compares none. Not with `initial = "none"` or an affine file.
    smoothing: mm, one value for each stage, coarse to fine. A stage takes `steps` Adam steps of size `rate` on `points`
        random points.
    similarity: `mse`, `ncc` or `nmi`.
    """

    kind: str = "affine"
    initial: str = "moments"
    rotations: int = 400
    reach: float = 60.0
    similarity: str = "ncc"
    smoothing: tuple[float, ...] = (5.0,)
    steps: int = 150
    points: int = 3000
    rate: float = 5e-3

    def __post_init__(self) -> None:
        require_one_of("affine.kind", self.kind, KINDS)
        require_one_of("affine.initial", self.initial, INITIALS)
        require_one_of("affine.similarity", self.similarity, ("mse", "ncc", "nmi"))  # the others compare patches
        require_at_least("affine", 1, high=MOST_STEPS, steps=self.steps)
        require_at_least("affine", 1, high=MOST_POINTS, points=self.points, rotations=self.rotations)
        require_above("affine", 0.0, rate=self.rate)
        if not self.smoothing or not all(SMALLEST <= s <= LARGEST for s in self.smoothing):
            raise UsageError(f"affine.smoothing: expected millimetres above 0, got {short_repr(self.smoothing)}")
        if not 0 <= self.reach <= 180:
            raise UsageError(f"affine.reach: expected 0 to 180 degrees, got {self.reach}")


@checked_fields
@dataclass(frozen=True)
class ChannelSettings:
    """One of the channels of a registration of several pairs of images; a table for each, in the order of the images.

    similarity: as `objective.similarity`, whose value replaces an empty one. Its weights are those of the channel.
    window: as `image.window`, whose value replaces an empty one.
    """

    similarity: str = ""
    window: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.similarity:
            similarity_factors(self.similarity)
        ImageSettings(window=self.window)


@checked_fields
@dataclass(frozen=True)
class LevelSettings:
    """One level of the fit: `steps` steps on smoothed images.

    smoothing: standard deviation of the Gaussian, mm.
    spacing: distance of the samples of a patch, mm.
    """

    steps: int = 100
    smoothing: float = 3.0
    spacing: float = 4.0

    def __post_init__(self) -> None:
        require_at_least("levels", 0, smoothing=self.smoothing)
        require_at_least("levels", 1, high=MOST_STEPS, steps=self.steps)
        require_above("levels", 0.0, spacing=self.spacing)


@checked_fields
@dataclass(frozen=True)
class FitOptimizationSettings:
    """The optimizer of a fit: Adam (Kingma and Ba, 2015).

    rate: step size of Adam, reached after the fraction `warmup` of the steps and lowered along a cosine if `decay`.
    plateau: a level ends early when the mean loss of its last fifth of steps is lower than that of the fifth before by
        less than this fraction; 0 never ends early.
    match_intensities: for images of different contrast; at the start of each level the intensities of one image are
        replaced by those of the other, by the curve that predicts them best.
    """

    rate: float = 1e-2
    warmup: float = 0.05
    decay: bool = True
    plateau: float = 1e-3
    match_intensities: bool = False

    def __post_init__(self) -> None:
        require_at_least("optimization", 0, high=1, warmup=self.warmup, plateau=self.plateau)
        require_above("optimization", 0.0, rate=self.rate)


@checked_fields
@dataclass(frozen=True)
class Settings:
    """All settings of a registration; the tables and keys of a TOML file have the same names.

    transform: `deformable`, or only the `affine` or `rigid` part.
    threads: CPU threads, on which results do not depend unless torch evaluates the fields; 0: all physical cores, at
        most 8.
    length_unit: mm; the unit of all lengths in the other tables. 0 is 1/256 of the fixed image's longest edge, so that
        the settings do not depend on the physical size of the image. Results contain the lengths in mm.
    detail_unit: above 0: the lengths of `field`, `objective` and `levels` are in units of this multiple of the pair's
        detail length, which is measured in the images (`nephi.images.detail_length`), within bounds that depend on the
        size of the fixed image; those of `affine` and `guidance` stay in units of `length_unit`.
    """

    transform: str = "deformable"
    threads: int = 0
    length_unit: float = 1.0
    detail_unit: float = 0.0
    image: ImageSettings = ImageSettings()
    affine: AffineSettings = AffineSettings()
    field: FieldSettings = FieldSettings()  # noqa: RUF009 (frozen: cannot be shared by mistake)
    objective: FitObjectiveSettings = FitObjectiveSettings()  # noqa: RUF009 (frozen)
    optimization: FitOptimizationSettings = FitOptimizationSettings()
    guidance: GuidanceSettings = GuidanceSettings()  # noqa: RUF009 (frozen)
    levels: tuple[LevelSettings, ...] = (
        LevelSettings(90, 3.0, 6.0),
        LevelSettings(90, 1.5, 4.0),
        LevelSettings(120, 0.0, 2.5),
    )
    channels: tuple[ChannelSettings, ...] = ()

    @property
    def detail(self) -> float:
        """The finest detail (mm) that a level compares: limited by its smoothing or by the spacing of its samples."""
        return min(level.smoothing or (level.spacing / 2 if self.objective.radius else 0.0) for level in self.levels)

    def __post_init__(self) -> None:
        require_one_of("transform", self.transform, ("rigid", "affine", "deformable"))
        require_at_least("", 0, high=MOST_THREADS, threads=self.threads)
        require_at_least("", SMALLEST if self.length_unit else 0, length_unit=self.length_unit)
        require_at_least("", SMALLEST if self.detail_unit else 0, detail_unit=self.detail_unit)
        if not self.levels:
            raise UsageError("levels: expected at least one, got none")
        if self.transform != "deformable":
            return
        name = f"field.encoding = {self.field.encoding!r} and field.inverse = {str(self.field.inverse).lower()}"
        penalties = ("codes", "code_norms") if self.field.has_latent_values else ()
        check_weights(self.objective, self.field.inverse, penalties, name)
