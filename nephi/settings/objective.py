"""The settings of the loss that fits and trainings minimise: one set of weights with one meaning."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from nephi.argument_types import checked_fields
from nephi.errors import UsageError
from nephi.losses import LOCAL, similarity_factors
from nephi.settings.validation import MOST_POINTS, require_above, require_at_least, require_one_of

OUTSIDES = ("ignored", "dark")
SAMPLINGS = ("random", "grid")
LARGEST_RADIUS = 10  # patches of 9261 samples in 3-D
REGULARIZATION_WEIGHTS = ("gradicon", "icon", "folding", "diffusion", "total_variation", "volume", "bending")
"""The weights of terms that are computed at the regularization points."""
INVERSE_WEIGHTS = ("gradicon", "icon")
"""The weights of terms that compare a map with its inverse."""
PENALTIES = {"codes": "latent values", "code_norms": "latent values", "velocity": "velocity field"}
"""The scalars that maps report (`nephi.transforms.Maps.penalties`), by the names of their weights."""


@checked_fields
@dataclass(frozen=True)
class ObjectiveSettings:
    """The similarity of the images, the weights of the regularization terms, and the random points of both.

    similarity: a name in `nephi.losses.SIMILARITIES` or a weighted sum such as `lncc2 + 10 mse`; the mean over both
        directions.
    variance_floor: `lncc` and `lncc2` give less weight to patches of low contrast; a patch whose standard deviation,
        of intensities in the window, has this value counts half.
    points: random points for the similarity in each direction, inside the masks where images have one, new at each
        step.
    radius: 0 compares single points, with a global similarity. 1 or more compares patches of `(2 radius + 1)^D` samples
        around the points, deformed to first order by the Jacobian; in 2-D at least radius 2 is used, since the 9
        samples of radius 1 are too few to correlate.
    outside: how a point or patch counts in the similarity whose centre is mapped outside the other image: `ignored`, or
        as `dark`, an image that is 0 there, which NePhi's published code compares with. In the windows of a
        training each sample outside either image is dark.
    regularization_points: number of these points at which the regularization terms are evaluated as well.
    background_points: number of further points for the regularization terms, in the whole grid, so that the maps are
        regular outside the masks, too.
    gradicon: weight of `|J_inverse J - I|^2` (sum over matrix entries), the mean over both orders of composition.
    icon: weight of `|inverse(phi(x)) - x|^2`, per mm^2, the mean over both orders. In a fit it grows linearly from 0:
        at full weight from the start it would keep both maps at the identity, where they agree.
    folding: weight of `max(0.1 - det J, 0)^2`. In a fit, folds that remain in the masks are removed at the end.
    diffusion: weight of `|J - I|^2` (sum over matrix entries).
    total_variation: weight of `|J - I|`, smoothed near 0: unlike `diffusion` it lets organs slide along each other.
    volume: weight of `|det J - 1|`.
    bending: weight of the squared second derivatives, per mm^-2, by differences of the Jacobian over `bending_step` mm.
    codes: weight of the mean magnitude of the latent values, for maps that have some.
    code_norms: weight of the mean Euclidean length of the global codes, plus that of the local codes at the nodes of
        their grid, for maps that have some: the penalty of NePhi's published code.

    folding, diffusion, total_variation, volume and bending are means over the points of both maps, or of one map where
    there is no inverse.
    """

    similarity: str = "lncc2"
    variance_floor: float = 0.056
    points: int = 256
    radius: int = 1
    outside: str = "ignored"
    regularization_points: int = 128
    background_points: int = 32
    gradicon: float = 0.4
    icon: float = 0.04
    folding: float = 0.0
    diffusion: float = 0.0
    total_variation: float = 0.0
    volume: float = 0.0
    bending: float = 0.0
    bending_step: float = 2.0
    codes: float = 0.0
    code_norms: float = 0.0

    @property
    def has_patches(self) -> bool:
        """Whether images are compared around each point, not only at it."""
        return self.radius > 0

    def patch_radius(self, dimension: int) -> int:
        """Return the radius of patches in images of `dimension` axes."""
        return max(self.radius, 2) if dimension == 2 and self.radius else self.radius

    def __post_init__(self) -> None:
        names = similarity_factors(self.similarity).keys()
        if "mind" in names and self.radius != 2:
            raise UsageError(f"objective.radius: similarity mind needs patches of radius 2, got {self.radius}")
        if names & {*LOCAL} and not self.has_patches:
            raise UsageError(f"objective.radius: similarity {self.similarity} needs a radius of at least 1, got 0")
        weights = {name: getattr(self, name) for name in (*REGULARIZATION_WEIGHTS, "codes", "code_norms")}
        require_one_of("objective.outside", self.outside, OUTSIDES)
        require_at_least("objective", 0, high=LARGEST_RADIUS, radius=self.radius)
        require_at_least("objective", 0, **weights)
        counts = {name: getattr(self, name) for name in ("regularization_points", "background_points")}
        require_at_least("objective", 0, high=MOST_POINTS, **counts)
        require_at_least("objective", 1, high=MOST_POINTS, points=self.points)
        require_above("objective", 0.0, variance_floor=self.variance_floor, bending_step=self.bending_step)
        used = [name for name in REGULARIZATION_WEIGHTS if weights[name]]
        if used and not any(counts.values()):
            raise UsageError(
                f"objective.{used[0]}: expected regularization_points or background_points above 0 to compute it at, "
                "got 0 and 0"
            )


@checked_fields
@dataclass(frozen=True)
class FitObjectiveSettings(ObjectiveSettings):
    """The objective of a fit.

    fraction: above 0, the number of points is this fraction of the fixed image's voxels, at most `points` (NePhi's
        rule).
    """

    fraction: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least("objective", 0, fraction=self.fraction)


@checked_fields
@dataclass(frozen=True)
class TrainingObjectiveSettings(ObjectiveSettings):
    """The objective of a training; the defaults are NePhi's (Tian et al., ECCV 2024).

    sampling: where the points lie: `random`, anywhere between the voxel centres; or `grid`, only at voxel centres of
        the model's input, where ICON's penalty does not keep maps regular (Greer et al., ICCV 2021).
    spacing: mm between the samples of a patch.
    window: standard deviation, mm, of Gaussian windows that take the place of patches, with `radius = 0`: around each
        point `window_samples` samples, new at each step, from a Gaussian cut at twice this value along each axis. The
        map is evaluated at every sample, so that windows may be wide: 5 voxels in ICON, GradICON, ConstrICON and CARL.
    similarity_weight: weight of the similarity; 0 for images of different contrast that only their labels align.
    dice: weight of the soft Dice loss of the labels of both images at the points of the similarity, for pairs whose
        images both have labels; the mean over at most `dice_labels` labels, chosen at random at each step.
    velocity: weight of `|dv/dx|^2` (sum over matrix entries), the mean over the voxels of stationary velocity fields v,
        for maps that integrate some.
    landmarks: weight of the mean distance, in mm, between known corresponding points, for pairs that have some.
    landmark_points: number of a pair's landmarks, chosen at random, that are used at each step.
    keypoints: weight of the mean distance, in mm, of the keypoints that the model finds in both images from random
        points in a reference image (`data.reference`), mapped as the augmentation maps the image: KeyMorph's
        pre-training, for models that find keypoints. The other images should lie about as the reference does.
    """

    similarity: str = "ncc"
    variance_floor: float = 0.1
    points: int = 2000
    radius: int = 0
    regularization_points: int = 0
    background_points: int = 128
    gradicon: float = 0.3
    icon: float = 0.0
    codes: float = 0.01
    sampling: str = "random"
    spacing: float = 4.0
    window: float = 0.0
    window_samples: int = 32
    similarity_weight: float = 1.0
    dice: float = 0.0
    dice_labels: int = 14
    velocity: float = 0.0
    landmarks: float = 0.0
    landmark_points: int = 200
    keypoints: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("objective.sampling", self.sampling, SAMPLINGS)
        require_at_least("objective", 2, points=self.points)
        weights = ("velocity", "landmarks", "similarity_weight", "dice", "keypoints")
        require_at_least("objective", 0, **{name: getattr(self, name) for name in weights})
        require_at_least("objective", 1, high=MOST_POINTS, dice_labels=self.dice_labels)
        if not (self.similarity_weight or self.dice or self.landmarks or self.keypoints):
            raise UsageError(
                "objective.similarity_weight: expected more than 0, or objective.dice, objective.landmarks or "
                "objective.keypoints above 0, as the other terms do not compare the images, got 0"
            )
        self._check_window()
        require_at_least("objective", 1, high=MOST_POINTS, landmark_points=self.landmark_points)
        require_above("objective", 0.0, spacing=self.spacing)

    def terms(self) -> list[str]:
        """Return the names of the terms of the loss: the similarity, and the weights above 0."""
        weights = (*REGULARIZATION_WEIGHTS, *PENALTIES, "dice", "landmarks", "keypoints")
        return ["similarity"] * bool(self.similarity_weight) + [name for name in weights if getattr(self, name)]

    def _check_window(self) -> None:
        """Raise `UsageError` for windows with patches, or with a similarity that needs other patches or none."""
        require_at_least("objective", 0, window=self.window)
        require_at_least("objective", 2, high=MOST_POINTS, window_samples=self.window_samples)
        if not self.window:
            return
        if self.radius:
            raise UsageError(f"objective.radius: expected 0 with objective.window, got {self.radius}")
        names = similarity_factors(self.similarity).keys()
        if "mind" in names or not names & {*LOCAL}:
            local = ", ".join(name for name in LOCAL if name != "mind")
            raise UsageError(
                f"objective.window: expected 0, or a similarity with one of {local} and without mind, got "
                f"{self.window:g} and {self.similarity}"
            )
        if self.points * self.window_samples > MOST_POINTS:
            raise UsageError(
                f"objective.window_samples: expected at most {MOST_POINTS} samples of all points, got {self.points} "
                f"points with {self.window_samples} samples"
            )

    @property
    def has_patches(self) -> bool:
        """Whether images are compared around each point: on patches or in windows."""
        return self.radius > 0 or self.window != 0


def check_weights(settings: ObjectiveSettings, has_inverse: bool, penalties: Collection[str], name: str) -> None:
    """Raise `UsageError` naming the first weight above 0 of a term that maps do not have.

    `has_inverse` states whether the maps come with an inverse, `penalties` are the names of those that they report.
    `name` of the maps or the model completes "expected 0 for".
    """
    missing = [] if has_inverse else [(weight, "inverse map") for weight in INVERSE_WEIGHTS]
    missing += [(weight, part) for weight, part in PENALTIES.items() if weight not in penalties]
    for weight, part in missing:
        if value := getattr(settings, weight, 0.0):
            raise UsageError(f"objective.{weight}: expected 0 for {name} (no {part}), got {value}")
