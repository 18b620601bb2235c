"""The settings of one registration: frozen dataclasses, the same names in TOML."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nephi.errors import UsageError
from nephi.fields import FieldSettings
from nephi.settings.objective import FitObjectiveSettings, check_weights
from nephi.settings.validation import require_above, require_at_least, require_one_of

INITIALS = ("moments", "centers", "none")
KINDS = ("none", "rigid", "affine")


@dataclass(frozen=True)
class ImageSettings:
    """How intensities are read.

    window: `(low, high)` that becomes (0, 1), values beyond are clamped; empty: taken from each image by `percentiles`
        of its foreground (voxels above the minimum, inside the mask when there is one).
    units: what the numbers of `window` are: `HU`, Hounsfield units of CT, then images in other units are warned of, or
        empty for any.
    outside: value of warped voxels that come from outside the moving image; stored with the transform, so that other
        images of the same units get it, too. Label maps get 0.
    mask: where points are drawn when no mask is given: `lungs` (found by themselves), `foreground` (above the
        minimum), or `none` (everywhere).
    """

    window: tuple[float, ...] = ()
    percentiles: tuple[float, float] = (0.5, 99.5)
    units: str = ""
    outside: float = 0.0
    mask: str = "none"

    def __post_init__(self) -> None:
        if self.window and (len(self.window) != 2 or not -math.inf < self.window[0] < self.window[1] < math.inf):
            raise UsageError(f"image.window: expected two numbers, low below high, got {self.window}")
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise UsageError(f"image.percentiles: expected 0 <= low < high <= 100, got {self.percentiles}")
        if self.units not in ("", "HU"):
            raise UsageError(f"image.units: expected HU, or an empty text for any, got {self.units!r}")
        require_one_of("image.mask", self.mask, ("lungs", "foreground", "none"))
        if not math.isfinite(self.outside):
            raise UsageError(f"image.outside: expected a finite number, got {self.outside}")


@dataclass(frozen=True)
class AffineSettings:
    """The global alignment that comes first.

    kind: `affine`, `rigid` or `none` (only the start).
    initial: brings centres of mass (`moments`) or image centres (`centers`) together, or trusts the headers (`none`).
    rotations: number of rotations of at most `reach` degrees that are tried before (not from `none` or a file), in 2-D
        as many as lie as close; 1 tries none.
    smoothing: mm, one stage each, coarse to fine; every stage takes `steps` Adam steps of size `rate` on `points`
        points, under `similarity`.
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
        require_at_least("affine", 1, steps=self.steps, points=self.points, rotations=self.rotations)
        require_above("affine", 0.0, rate=self.rate)
        if not self.smoothing or not all(0 < s < math.inf for s in self.smoothing):
            raise UsageError(f"affine.smoothing: expected millimetres above 0, got {self.smoothing}")
        if not 0 <= self.reach <= 180:
            raise UsageError(f"affine.reach: expected 0 to 180 degrees, got {self.reach}")


@dataclass(frozen=True)
class LevelSettings:
    """One level: `steps` steps on images smoothed by `smoothing` mm, with a patch's samples `spacing` mm apart."""

    steps: int = 100
    smoothing: float = 3.0
    spacing: float = 4.0

    def __post_init__(self) -> None:
        require_at_least("levels", 0, smoothing=self.smoothing)
        require_at_least("levels", 1, steps=self.steps)
        require_above("levels", 0.0, spacing=self.spacing)


@dataclass(frozen=True)
class FitOptimizationSettings:
    """How the maps are fitted.

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
        require_at_least("optimization", 0, warmup=self.warmup, plateau=self.plateau)
        require_above("optimization", 0.0, rate=self.rate)


@dataclass(frozen=True)
class Settings:
    """Everything a registration is told besides its images; the same tables and names as in a TOML file.

    transform: `deformable`, or only the `affine` or `rigid` part.
    threads: CPU threads of the fit, 0 for all.
    length_unit: mm in which all lengths of the other tables count. 0 chooses it from the fixed image, as its longest
        edge / 256: then the settings suit a mouse and a man alike. Results hold the lengths in mm.
    """

    transform: str = "deformable"
    threads: int = 1
    length_unit: float = 1.0
    image: ImageSettings = ImageSettings()
    affine: AffineSettings = AffineSettings()
    field: FieldSettings = FieldSettings()  # noqa: RUF009 (frozen: cannot be shared by mistake)
    objective: FitObjectiveSettings = FitObjectiveSettings()  # noqa: RUF009 (frozen)
    optimization: FitOptimizationSettings = FitOptimizationSettings()
    levels: tuple[LevelSettings, ...] = (
        LevelSettings(90, 3.0, 6.0),
        LevelSettings(90, 1.5, 4.0),
        LevelSettings(120, 0.0, 2.5),
    )

    @property
    def detail(self) -> float:
        """The finest detail any level compares (mm): what smoothing leaves, or what samples so far apart can see."""
        return min(level.smoothing or (level.spacing / 2 if self.objective.radius else 0.0) for level in self.levels)

    def __post_init__(self) -> None:
        require_one_of("transform", self.transform, ("rigid", "affine", "deformable"))
        require_at_least("settings", 0, threads=self.threads, length_unit=self.length_unit)
        if not self.levels:
            raise UsageError("levels: expected at least one")
        name = f"field.encoding = {self.field.encoding!r} and field.inverse = {str(self.field.inverse).lower()}"
        check_weights(self.objective, self.field.inverse, ("codes",) if self.field.has_latent_values else (), name)
