"""The settings of one registration: frozen dataclasses, the same names in TOML."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nephi.errors import UsageError
from nephi.fields import FieldSettings
from nephi.losses import LOCAL, similarity_factors

INITIALS = ("moments", "centers", "none")
KINDS = ("none", "rigid", "affine")


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")


def _at_least(table: str, low: float, **values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value >= low):
            raise UsageError(f"{table}.{name}: expected {low} or more, got {value}")


def _above(table: str, low: float, **values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > low):
            raise UsageError(f"{table}.{name}: expected more than {low}, got {value}")


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
        _one_of("image.mask", self.mask, ("lungs", "foreground", "none"))
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
        _one_of("affine.kind", self.kind, KINDS)
        _one_of("affine.initial", self.initial, INITIALS)
        _one_of("affine.similarity", self.similarity, ("mse", "ncc", "nmi"))  # the others compare patches
        _at_least("affine", 1, steps=self.steps, points=self.points, rotations=self.rotations)
        _above("affine", 0.0, rate=self.rate)
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
        _at_least("levels", 0, smoothing=self.smoothing)
        _at_least("levels", 1, steps=self.steps)
        _above("levels", 0.0, spacing=self.spacing)


@dataclass(frozen=True)
class RegularitySettings:
    """Weights of the regularity terms, and where they are measured.

    points: fresh points inside the mask at each step; everywhere: further points over the whole grid, so that the
        field continues smoothly outside the mask.
    icon is per mm^2 and grows linearly from 0 over the fit: held from the start it would keep both fields at the
    identity, where they agree. bending is per mm^-2, with derivatives over `bending_step` mm; the others are
    dimensionless. gradicon sums the squares of the matrix entries. codes weighs the mean magnitude of the latent codes.
    With folding above 0, voxels of the masks that fold all the same are unfolded at the end.
    """

    points: int = 128
    everywhere: int = 32
    gradicon: float = 0.2
    icon: float = 0.02
    folding: float = 0.0
    diffusion: float = 0.0
    volume: float = 0.0
    bending: float = 0.0
    bending_step: float = 2.0
    codes: float = 0.0

    def __post_init__(self) -> None:
        _at_least("regularity", 0, everywhere=self.everywhere, gradicon=self.gradicon, icon=self.icon)
        _at_least("regularity", 0, folding=self.folding, diffusion=self.diffusion, volume=self.volume)
        _at_least("regularity", 0, bending=self.bending, codes=self.codes)
        _at_least("regularity", 1, points=self.points)
        _above("regularity", 0.0, bending_step=self.bending_step)


@dataclass(frozen=True)
class FitSettings:
    """How the fields are fitted.

    similarity: between patches of `(2 radius + 1)^D` samples at `patches` points in each direction; one of them, or a
        weighted sum such as `lncc2 + 10 mse`. radius 0 compares single points (for the global measures); in 2-D it is
        at least 2 otherwise, for the 9 samples of radius 1 are too few to correlate. `share` above 0 draws that share
        of the fixed image's voxels instead, at most `patches` (NePhi's rule).
    contrast: standard deviation, of intensities in the window, at which a patch counts half in `lncc` and `lncc2`.
    match_contrast: for images of different contrast; at the start of each level one is given the other's by the curve
        that predicts it best.
    rate: Adam's step size, reached after a `warmup` share of the steps and lowered along a cosine if `decay`.
    plateau: a level ends early when the mean loss of its last fifth of steps is lower than that of the fifth before by
        less than this share; 0 never ends early.
    """

    similarity: str = "lncc2"
    patches: int = 256
    share: float = 0.0
    radius: int = 1
    contrast: float = 0.056
    match_contrast: bool = False
    rate: float = 1e-2
    warmup: float = 0.05
    decay: bool = True
    plateau: float = 1e-3

    def patch_radius(self, dimension: int) -> int:
        """Return the radius of patches in images of `dimension` axes."""
        return max(self.radius, 2) if dimension == 2 and self.radius else self.radius

    def __post_init__(self) -> None:
        names = similarity_factors(self.similarity).keys()
        if "mind" in names and self.radius != 2:
            raise UsageError(f"fit.radius: similarity mind needs patches of radius 2, got {self.radius}")
        if names & {*LOCAL} and self.radius < 1:
            raise UsageError(f"fit.radius: similarity {self.similarity} needs patches of radius 1 or more, got 0")
        _at_least("fit", 0, radius=self.radius, share=self.share, warmup=self.warmup, plateau=self.plateau)
        _at_least("fit", 1, patches=self.patches)
        _above("fit", 0.0, rate=self.rate, contrast=self.contrast)


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
    fit: FitSettings = FitSettings()
    regularity: RegularitySettings = RegularitySettings()
    levels: tuple[LevelSettings, ...] = (
        LevelSettings(90, 3.0, 6.0),
        LevelSettings(90, 1.5, 4.0),
        LevelSettings(120, 0.0, 2.5),
    )

    @property
    def detail(self) -> float:
        """The finest detail any level compares (mm): what smoothing leaves, or what samples so far apart can see."""
        return min(level.smoothing or (level.spacing / 2 if self.fit.radius else 0.0) for level in self.levels)

    def __post_init__(self) -> None:
        _one_of("transform", self.transform, ("rigid", "affine", "deformable"))
        _at_least("settings", 0, threads=self.threads, length_unit=self.length_unit)
        if not self.levels:
            raise UsageError("levels: expected at least one")
