"""What the cases of `quality_cases.py` register: images, masks and settings, and how they are made wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch
from motions import Motion

import nephi
from nephi.phantoms import (
    PhantomPair,
    half_field_of_view,
    lung_phantom,
    shapes_phantom,
    stains_phantom,
)

SIZE = (96, 70, 76)  # voxels of lung phantoms
FEW_STEPS = 4  # a level, which leave the motion unsolved
Images = dict[str, nephi.Image]


@dataclass(frozen=True, eq=False)
class Job:
    """Images and masks by argument of `nephi.register`, settings, and true pairs of points where they are known."""

    images: Images
    settings: nephi.Settings
    initial: str | nephi.Transform | None = None
    landmarks: nephi.PointPairs | None = None


def lungs(seed: int, motion: float, noise: float = 20.0) -> Callable[[], PhantomPair]:
    return partial(_cached_lungs, seed, motion, noise)


@cache
def _cached_lungs(seed: int, motion: float, noise: float) -> PhantomPair:
    return lung_phantom(seed, motion, noise=noise, shape=SIZE)


def shapes(seed: int) -> Callable[[], PhantomPair]:
    return partial(shapes_phantom, seed)


def stains(seed: int, angle: float) -> Callable[[], PhantomPair]:
    return partial(stains_phantom, seed, angle=angle)


def phantom(make: Callable[[], PhantomPair], preset: str, masks: bool) -> Job:
    return job_of(make(), preset, masks)


def job_of(pair: PhantomPair, preset: str, masks: bool) -> Job:
    images = {"fixed": pair.fixed, "moving": pair.moving}
    if masks:
        images |= {"fixed_mask": pair.fixed_mask, "moving_mask": pair.moving_mask}
    return Job(images, preset_settings(preset), landmarks=pair.landmarks)


def preset_settings(preset: str) -> nephi.Settings:
    return replace(nephi.preset(preset), threads=1)


def lung_ct(data: Path, preset: str, masks: bool, reverse: bool = False) -> Job:
    folder = data / "lung_ct"
    names = ("fixed", "moving", "fixed_mask", "moving_mask") if masks else ("fixed", "moving")
    images = {name: nephi.read_image(folder / f"{name}.mha") for name in names}
    return exchanged_if(
        Job(images, preset_settings(preset), landmarks=nephi.read_point_pairs(folder / "landmarks.csv")), reverse
    )


def brains(data: Path, preset: str, contrast: bool = False, reverse: bool = False) -> Job:
    images = {name: nephi.read_image(data / "brain_mri" / f"{name}.nii.gz") for name in ("fixed", "moving")}
    if contrast:  # as pairs.remap: bright fluid, dark grey, lighter white matter
        values = images["moving"].data.float()
        curve = 0.55 + 0.45 * torch.cos(2 * torch.pi / 0.6 * values)
        images["moving"] = images["moving"].with_data(torch.where(values > 0, curve, 0.0))
    return exchanged_if(Job(images, preset_settings(preset)), reverse)


def named(data: Path, pair: str, preset: str, reverse: bool = False) -> Job:
    images = {name: nephi.read_image(data / pair / f"{name}.nii.gz") for name in ("fixed", "moving")}
    landmarks = data / pair / "landmarks_liver.csv"
    points = nephi.read_point_pairs(landmarks) if landmarks.is_file() else None
    return exchanged_if(Job(images, preset_settings(preset), landmarks=points), reverse)


def exchanged_if(job: Job, reverse: bool) -> Job:
    if not reverse:
        return job
    other = {"fixed": "moving", "moving": "fixed", "fixed_mask": "moving_mask", "moving_mask": "fixed_mask"}
    points = job.landmarks and nephi.PointPairs(job.landmarks.moving, job.landmarks.fixed)
    return replace(job, images={other[name]: image for name, image in job.images.items()}, landmarks=points)


def moved(make: Callable[[], Job], seed: int) -> Job:
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


def other_patient(make: Callable[[], PhantomPair], other: Callable[[], PhantomPair], preset: str, masks: bool) -> Job:
    """Return a job whose moving side is that of another phantom."""
    job, wrong = job_of(make(), preset, masks), job_of(other(), preset, masks)
    images = {name: (wrong if name.startswith("moving") else job).images[name] for name in job.images}
    return Job(images, job.settings)


def other_organ(make: Callable[[], Job], other: Callable[[], Job], preset: str) -> Job:
    return Job({"fixed": make().images["fixed"], "moving": other().images["moving"]}, preset_settings(preset))


def mirrored(make: Callable[[], Job]) -> Job:
    """Return the job with the voxels of the moving side in reverse order along their first axis."""
    job = make()
    images = {
        name: image.with_data(image.data.flip(0)) if name.startswith("moving") else image
        for name, image in job.images.items()
    }
    return Job(images, job.settings)


def turned(make: Callable[[], Job], axes: tuple[int, int], angle: float) -> Job:
    """Return the job that starts from a turn in a plane of two axes by `angle` degrees, about the images' centres."""
    job = make()
    (a, b), turn = axes, math.radians(angle)
    fixed, moving = (job.images[name].grid.centre_world() for name in ("fixed", "moving"))
    matrix = torch.eye(len(fixed) + 1, dtype=torch.float64)
    matrix[a, a] = matrix[b, b] = math.cos(turn)
    matrix[a, b], matrix[b, a] = -math.sin(turn), math.sin(turn)
    matrix[:-1, -1] = moving - matrix[:-1, :-1] @ fixed
    return replace(job, initial=nephi.AffineTransform(matrix))


def only_affine(make: Callable[[], Job]) -> Job:
    job = make()
    return replace(job, settings=replace(job.settings, transform="affine"))


def few_steps(make: Callable[[], Job]) -> Job:
    job = make()
    levels = tuple(replace(level, steps=FEW_STEPS) for level in job.settings.levels)
    return replace(job, settings=replace(job.settings, levels=levels))


def cut(make: Callable[[], Job], axis: int) -> Job:
    """Return the job with one half of the moving image only, along an axis where its mask is halved."""
    job, points = make(), nephi.PointPairs.from_coordinates(torch.zeros(1, 3), torch.zeros(1, 3))
    images = job.images
    points = job.landmarks or points
    identity = nephi.AffineTransform.identity(images["fixed"].dimension)
    names = ("fixed", "moving", "fixed_mask", "moving_mask")
    pair = half_field_of_view(PhantomPair(*(images[name] for name in names), identity, points), "moving", axis)
    return replace(job, images={name: getattr(pair, name) for name in names}, landmarks=pair.landmarks)
