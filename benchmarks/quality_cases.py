"""The registrations on which the verdict is calibrated and tested: 40 right ones and 40 wrong ones, and 20 + 20 unseen.

Cases are independent. The thresholds were chosen on every second one of a kind, the part `calibration`; the others are
its `test`. The measure itself was developed with both in view; the `unseen` cases were added when all was fixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

import torch
from motions import Motion

import nephi
from nephi.phantoms import (
    PhantomPair,
    half_field_of_view,
    local_motion_phantom,
    lung_phantom,
    shapes_phantom,
    sliding_phantom,
    stains_phantom,
)

SIZE = (96, 70, 76)  # voxels of lung phantoms
PARTS = ("calibration", "test", "unseen")
FEW_STEPS = 4  # a level, which leave the motion unsolved
Images = dict[str, nephi.Image]


@dataclass(frozen=True, eq=False)
class Job:
    """Images and masks by argument of `nephi.register`, settings, and true pairs of points where they are known."""

    images: Images
    settings: nephi.Settings
    initial: str | nephi.Transform | None = None
    landmarks: nephi.PointPairs | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """One registration: its kind, whether it is right, its part of the calibration, and how it is made."""

    kind: str
    label: str
    right: bool
    part: str
    make: Callable[[], Job] = field(repr=False)

    @property
    def name(self) -> str:
        """Name of the case, on the screen and in the work folder."""
        return f"{'right' if self.right else 'wrong'}-{self.kind}-{self.label}".replace(" ", "_")


def all_cases(data: Path) -> list[Case]:
    """Return all cases; `data` is the folder of the real pairs."""
    cases = []
    for right, kinds in ((True, _right(data)), (False, _wrong(data))):
        for kind, jobs in kinds:
            cases += [
                Case(kind, label, right, PARTS[number % 2], make) for number, (label, make) in enumerate(jobs.items())
            ]
    for right, kinds in ((True, _unseen_right(data)), (False, _unseen_wrong(data))):
        cases += [Case(kind, label, right, PARTS[2], make) for kind, jobs in kinds for label, make in jobs.items()]
    return cases


Makers = dict[str, Callable[[], Job]]


def _right(data: Path) -> Iterator[tuple[str, Makers]]:
    yield (
        "breathing",
        {f"seed {s}": partial(_phantom, _lungs(s, 15.0 + 5 * (s % 3)), "lung-ct", s < 4) for s in range(6)},
    )
    yield "noise", {f"seed {s}": partial(_phantom, _lungs(s, 20.0, noise=60.0), "lung-ct", True) for s in (6, 7)}
    yield "shapes", {f"seed {s}": partial(_phantom, _shapes(s), "generic", False) for s in range(5)}
    yield "stains", {f"seed {s}": partial(_phantom, _stains(s, 30.0 * s), "multimodal", False) for s in range(6)}
    yield (
        "local motion",
        {f"seed {s}": partial(_phantom, partial(local_motion_phantom, s), "ct", False) for s in (0, 1)},
    )
    yield "sliding", {f"seed {s}": partial(_phantom, partial(sliding_phantom, s), "breathing", False) for s in (0, 1)}
    lung, brain = partial(_lung_ct, data), partial(_brains, data)
    yield (
        "lung_ct",
        {
            "masks": partial(lung, "lung-ct", True),
            "masks reversed": partial(lung, "lung-ct", True, reverse=True),
            "no masks": partial(lung, "lung-ct", False),
            "no masks reversed": partial(lung, "lung-ct", False, reverse=True),
            "moved 1": partial(_moved, partial(lung, "lung-ct", True), 1),
            "moved 2": partial(_moved, partial(lung, "lung-ct", False), 2),
            "generic": partial(lung, "generic", False),
            "generic reversed": partial(lung, "generic", False, reverse=True),
        },
    )
    yield (
        "brain_mri",
        {
            "forward": partial(brain, "brain-mri"),
            "reversed": partial(brain, "brain-mri", reverse=True),
            "moved 3": partial(_moved, partial(brain, "brain-mri"), 3),
        },
    )
    yield (
        "brain contrast",
        {
            "forward": partial(brain, "multimodal", contrast=True),
            "reversed": partial(brain, "multimodal", contrast=True, reverse=True),
        },
    )
    yield (
        "liver_mr",
        {
            "forward": partial(_named, data, "liver_mr", "breathing"),
            "reversed": partial(_named, data, "liver_mr", "breathing", reverse=True),
        },
    )
    yield (
        "cord_mr",
        {
            "forward": partial(_named, data, "cord_mr", "multimodal"),
            "reversed": partial(_named, data, "cord_mr", "multimodal", reverse=True),
        },
    )


def _wrong(data: Path) -> Iterator[tuple[str, Makers]]:
    lung, brain = partial(_lung_ct, data), partial(_brains, data)
    liver = partial(_named, data, "liver_mr", "breathing")
    yield (
        "other patient",
        {
            **{
                f"lungs {s}": partial(_exchanged, _lungs(s, 20.0), _lungs(s + 10, 20.0), "lung-ct", s < 2)
                for s in range(4)
            },
            **{f"shapes {s}": partial(_exchanged, _shapes(s), _shapes(s + 20), "generic", False) for s in range(2)},
            **{
                f"stains {s}": partial(_exchanged, _stains(s, 20.0), _stains(s + 30, 20.0), "multimodal", False)
                for s in (0, 1)
            },
        },
    )
    real = {"lung": partial(lung, "generic", False), "brain": partial(brain, "generic"), "liver": liver}
    real["cord"] = partial(_named, data, "cord_mr", "generic")
    pairs = [
        ("lung", "brain"),
        ("brain", "lung"),
        ("liver", "brain"),
        ("cord", "liver"),
        ("lung", "liver"),
        ("brain", "cord"),
    ]
    yield (
        "other organ",
        {
            **{
                f"{a} {b}": partial(_organs, real[a], real[b], "multimodal" if n % 3 == 2 else "generic")
                for n, (a, b) in enumerate(pairs)
            },
            "stains shapes": partial(_exchanged, _stains(0, 0.0), _shapes(0), "generic", False),
        },
    )
    yield (
        "mirrored",
        {
            "lung_ct": partial(_mirrored, partial(lung, "lung-ct", True)),
            "lung_ct reversed": partial(_mirrored, partial(lung, "lung-ct", False, reverse=True)),
            **{f"lungs {s}": partial(_mirrored, partial(_phantom, _lungs(s, 20.0), "lung-ct", s == 0)) for s in (0, 1)},
            "brain": partial(_mirrored, partial(brain, "brain-mri")),
            "liver": partial(_mirrored, liver),
            **{
                f"stains {s}": partial(_mirrored, partial(_phantom, _stains(s, 40.0), "multimodal", False))
                for s in (0, 1)
            },
        },
    )
    yield (
        "wrong optimum",
        {
            "lung_ct": partial(_turned, partial(lung, "lung-ct", True), (0, 1), 180.0),
            "lungs 0": partial(_turned, partial(_phantom, _lungs(0, 20.0), "lung-ct", True), (0, 1), 180.0),
            "lungs 1": partial(_turned, partial(_phantom, _lungs(1, 20.0), "lung-ct", False), (1, 2), 90.0),
            "brain": partial(_turned, partial(brain, "brain-mri"), (0, 1), 180.0),
            "stains 3": partial(_turned, partial(_phantom, _stains(3, 0.0), "multimodal", False), (0, 1), 120.0),
            "stains 4": partial(_turned, partial(_phantom, _stains(4, 0.0), "multimodal", False), (0, 1), 180.0),
            "shapes 2": partial(_turned, partial(_phantom, _shapes(2), "generic", False), (0, 1), 90.0),
        },
    )
    yield (
        "motion unsolved",
        {
            **{
                f"lungs affine {s}": partial(_affine, partial(_phantom, _lungs(s, 25.0), "lung-ct", s == 0))
                for s in (0, 1)
            },
            "lungs few steps": partial(_few_steps, partial(_phantom, _lungs(2, 25.0), "lung-ct", True)),
            "lung_ct affine": partial(_affine, partial(lung, "lung-ct", True)),
            "local motion affine": partial(_affine, partial(_phantom, partial(local_motion_phantom, 0), "ct", False)),
            "liver affine": partial(_affine, liver),
        },
    )
    yield (
        "cut field",
        {
            "lungs 0": partial(_cut, partial(_phantom, _lungs(0, 15.0), "lung-ct", True), 2),
            "lungs 1": partial(_cut, partial(_phantom, _lungs(1, 15.0), "lung-ct", True), 0),
            "lung_ct": partial(_cut, partial(lung, "lung-ct", True), 2),
            "stains 5": partial(_cut, partial(_phantom, _stains(5, 30.0), "multimodal", True), 0),
        },
    )


def _unseen_right(data: Path) -> Iterator[tuple[str, Makers]]:
    yield (
        "breathing",
        {
            f"seed {s}": partial(_phantom, _lungs(s, 12.0 + 3 * (s - 100)), "lung-ct", s % 2 == 0)
            for s in range(100, 106)
        },
    )
    yield "shapes", {f"seed {s}": partial(_phantom, _shapes(s), "generic", False) for s in range(100, 104)}
    yield "stains", {f"seed {s}": partial(_phantom, _stains(s, 70.0), "multimodal", False) for s in range(100, 104)}
    yield (
        "local motion",
        {f"seed {s}": partial(_phantom, partial(local_motion_phantom, s), "ct", False) for s in (100, 101)},
    )
    yield (
        "sliding",
        {f"seed {s}": partial(_phantom, partial(sliding_phantom, s), "breathing", False) for s in (100, 101)},
    )
    lung = partial(_lung_ct, data, "lung-ct")
    yield "lung_ct", {f"moved {s}": partial(_moved, partial(lung, s == 11), s) for s in (11, 12)}


def _unseen_wrong(data: Path) -> Iterator[tuple[str, Makers]]:
    lung = partial(_lung_ct, data, "lung-ct", True)
    liver, cord = (partial(_named, data, *each) for each in (("liver_mr", "breathing"), ("cord_mr", "generic")))
    lungs = {s: partial(_phantom, _lungs(s, 20.0), "lung-ct", True) for s in range(102, 106)}
    shapes = {s: partial(_phantom, _shapes(s), "generic", True) for s in range(101, 104)}
    yield (
        "other patient",
        {
            **{
                f"lungs {s}": partial(_exchanged, _lungs(s, 20.0), _lungs(s + 10, 20.0), "lung-ct", True)
                for s in (100, 101)
            },
            "stains 100": partial(_exchanged, _stains(100, 20.0), _stains(130, 20.0), "multimodal", False),
            "shapes 100": partial(_exchanged, _shapes(100), _shapes(120), "generic", False),
        },
    )
    yield (
        "other organ",
        {
            "liver lung": partial(_organs, liver, lung, "multimodal"),
            "cord brain": partial(_organs, cord, partial(_brains, data, "generic"), "generic"),
        },
    )
    yield (
        "mirrored",
        {
            "brain contrast": partial(_mirrored, partial(_brains, data, "multimodal", contrast=True)),
            "cord": partial(_mirrored, cord),
            "lungs 102": partial(_mirrored, lungs[102]),
            "shapes 101": partial(_mirrored, shapes[101]),
        },
    )
    yield (
        "wrong optimum",
        {
            "lung_ct on its side": partial(_turned, lung, (1, 2), 90.0),
            "lungs 103": partial(_turned, lungs[103], (0, 2), 180.0),
            "stains 102": partial(_turned, partial(_phantom, _stains(102, 0.0), "multimodal", False), (0, 1), 90.0),
            "liver": partial(_turned, liver, (0, 1), 90.0),
        },
    )
    yield (
        "motion unsolved",
        {
            "lungs 104": partial(_affine, lungs[104]),
            "shapes 102": partial(_affine, shapes[102]),
            "sliding 100": partial(_affine, partial(_phantom, partial(sliding_phantom, 100), "breathing", False)),
            "stains 101": partial(_affine, partial(_phantom, _stains(101, 30.0), "multimodal", False)),
        },
    )
    yield "cut field", {"lungs 105": partial(_cut, lungs[105], 1), "shapes 103": partial(_cut, shapes[103], 0)}


def _lungs(seed: int, motion: float, noise: float = 20.0) -> Callable[[], PhantomPair]:
    return partial(_cached_lungs, seed, motion, noise)


@cache
def _cached_lungs(seed: int, motion: float, noise: float) -> PhantomPair:
    return lung_phantom(seed, motion, noise=noise, shape=SIZE)


def _shapes(seed: int) -> Callable[[], PhantomPair]:
    return partial(shapes_phantom, seed)


def _stains(seed: int, angle: float) -> Callable[[], PhantomPair]:
    return partial(stains_phantom, seed, angle=angle)


def _phantom(make: Callable[[], PhantomPair], preset: str, masks: bool) -> Job:
    return _job_of(make(), preset, masks)


def _job_of(pair: PhantomPair, preset: str, masks: bool) -> Job:
    images = {"fixed": pair.fixed, "moving": pair.moving}
    if masks:
        images |= {"fixed_mask": pair.fixed_mask, "moving_mask": pair.moving_mask}
    return Job(images, _settings(preset), landmarks=pair.landmarks)


def _settings(preset: str) -> nephi.Settings:
    return replace(nephi.preset(preset), threads=1)


def _lung_ct(data: Path, preset: str, masks: bool, reverse: bool = False) -> Job:
    folder = data / "lung_ct"
    names = ("fixed", "moving", "fixed_mask", "moving_mask") if masks else ("fixed", "moving")
    images = {name: nephi.read_image(folder / f"{name}.mha") for name in names}
    return _reversed(
        Job(images, _settings(preset), landmarks=nephi.read_point_pairs(folder / "landmarks.csv")), reverse
    )


def _brains(data: Path, preset: str, contrast: bool = False, reverse: bool = False) -> Job:
    images = {name: nephi.read_image(data / "brain_mri" / f"{name}.nii.gz") for name in ("fixed", "moving")}
    if contrast:  # as pairs.remap: bright fluid, dark grey, lighter white matter
        values = images["moving"].data.float()
        curve = 0.55 + 0.45 * torch.cos(2 * torch.pi / 0.6 * values)
        images["moving"] = images["moving"].with_data(torch.where(values > 0, curve, 0.0))
    return _reversed(Job(images, _settings(preset)), reverse)


def _named(data: Path, pair: str, preset: str, reverse: bool = False) -> Job:
    images = {name: nephi.read_image(data / pair / f"{name}.nii.gz") for name in ("fixed", "moving")}
    landmarks = data / pair / "landmarks_liver.csv"
    points = nephi.read_point_pairs(landmarks) if landmarks.is_file() else None
    return _reversed(Job(images, _settings(preset), landmarks=points), reverse)


def _reversed(job: Job, reverse: bool) -> Job:
    if not reverse:
        return job
    other = {"fixed": "moving", "moving": "fixed", "fixed_mask": "moving_mask", "moving_mask": "fixed_mask"}
    points = job.landmarks and nephi.PointPairs(job.landmarks.moving, job.landmarks.fixed)
    return replace(job, images={other[name]: image for name, image in job.images.items()}, landmarks=points)


def _moved(make: Callable[[], Job], seed: int) -> Job:
    """Return the job with the moving side moved by a seed's rigid motion."""
    job = make()
    matrix = Motion.random(seed).about(job.images["moving"].grid.centre_world())
    images = {
        name: image.with_grid(image.grid.transformed(matrix)) if name.startswith("moving") else image
        for name, image in job.images.items()
    }
    points = job.landmarks
    if points is not None:
        points = nephi.PointPairs(points.fixed, points.moving.mapped(nephi.AffineTransform(matrix)))
    return replace(job, images=images, landmarks=points)


def _exchanged(make: Callable[[], PhantomPair], other: Callable[[], PhantomPair], preset: str, masks: bool) -> Job:
    """Return a job whose moving side is that of another phantom."""
    job, wrong = _job_of(make(), preset, masks), _job_of(other(), preset, masks)
    images = {name: (wrong if name.startswith("moving") else job).images[name] for name in job.images}
    return Job(images, job.settings)


def _organs(make: Callable[[], Job], other: Callable[[], Job], preset: str) -> Job:
    return Job({"fixed": make().images["fixed"], "moving": other().images["moving"]}, _settings(preset))


def _mirrored(make: Callable[[], Job]) -> Job:
    """Return the job with the voxels of the moving side in reverse order along their first axis."""
    job = make()
    images = {
        name: image.with_data(image.data.flip(0)) if name.startswith("moving") else image
        for name, image in job.images.items()
    }
    return Job(images, job.settings)


def _turned(make: Callable[[], Job], axes: tuple[int, int], angle: float) -> Job:
    """Return the job that starts from a turn in a plane of two axes by `angle` degrees, about the images' centres."""
    job = make()
    (a, b), turn = axes, math.radians(angle)
    fixed, moving = (job.images[name].grid.centre_world() for name in ("fixed", "moving"))
    matrix = torch.eye(len(fixed) + 1, dtype=torch.float64)
    matrix[a, a] = matrix[b, b] = math.cos(turn)
    matrix[a, b], matrix[b, a] = -math.sin(turn), math.sin(turn)
    matrix[:-1, -1] = moving - matrix[:-1, :-1] @ fixed
    return replace(job, initial=nephi.AffineTransform(matrix))


def _affine(make: Callable[[], Job]) -> Job:
    job = make()
    return replace(job, settings=replace(job.settings, transform="affine"))


def _few_steps(make: Callable[[], Job]) -> Job:
    job = make()
    levels = tuple(replace(level, steps=FEW_STEPS) for level in job.settings.levels)
    return replace(job, settings=replace(job.settings, levels=levels))


def _cut(make: Callable[[], Job], axis: int) -> Job:
    """Return the job with one half of the moving image only, along an axis where its mask is halved."""
    job, points = make(), nephi.PointPairs.from_coordinates(torch.zeros(1, 3), torch.zeros(1, 3))
    images = job.images
    points = job.landmarks or points
    identity = nephi.AffineTransform.identity(images["fixed"].dimension)
    names = ("fixed", "moving", "fixed_mask", "moving_mask")
    pair = half_field_of_view(PhantomPair(*(images[name] for name in names), identity, points), "moving", axis)
    return replace(job, images={name: getattr(pair, name) for name in names}, landmarks=pair.landmarks)
