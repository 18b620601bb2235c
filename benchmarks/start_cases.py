"""The cases of starts.py: pairs of images in their places, and true pairs of points, by group and seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from motions import Motion

import nephi
from nephi.phantoms import PhantomPair, half_field_of_view, lung_phantom, stains_phantom
from nephi.sampling import MaskPoints

POINTS = 300  # in the labels


@dataclass(frozen=True)
class Moved:
    """Images and masks in their places, and true pairs of points."""

    images: dict[str, nephi.Image]
    preset: str
    fixed: torch.Tensor
    moving: torch.Tensor


def lung_ct(masks: bool) -> Callable[[Path, int], Moved]:
    """Return the cases of `lung_ct` with moved headers."""
    return lambda data, seed: with_moved_header(*_lung_ct(data), "lung-ct", masks, seed)


def lung_phantoms(masks: bool) -> Callable[[Path, int], Moved]:
    """Return the cases of the 25 mm phantoms, of which a seed takes one of three."""

    def make(_: Path, seed: int) -> Moved:
        return with_moved_header(*_in_parts(_lungs(seed % 3)), "lung-ct", masks, seed)

    return make


def brains(masks: bool, contrast: bool) -> Callable[[Path, int], Moved]:
    """Return the cases of `brain_mri`, in the same or another contrast, with the labels as masks."""
    preset = "multimodal" if contrast else "brain-mri"
    return lambda data, seed: with_moved_header(*_brains(data, contrast), preset, masks, seed)


def stains(_: Path, seed: int) -> Moved:
    """Return a pair of stains, turned by 0 to 180 degrees in steps of 3."""
    pair = stains_phantom(seed, 3.0 * (seed * 23 % 61))
    images = {"fixed": pair.fixed, "moving": pair.moving}
    return Moved(images, "generic", pair.landmarks.fixed.coordinates, pair.landmarks.moving.coordinates)


def parts(_: Path, seed: int) -> Moved:
    """Return a pair of which one image lacks half of the organ: stains, or moved lungs."""
    part, side = ("fixed", "moving")[seed // 2 % 2], ("low", "high")[seed // 4 % 2]
    if seed % 2:
        halved = half_field_of_view(_lungs(seed % 3), part, seed // 8 % 3, side)
        return with_moved_header(*_in_parts(halved), "ct", False, seed)
    halved = half_field_of_view(stains_phantom(seed, 3.0 * (seed * 23 % 61)), part, seed // 8 % 2, side)
    images, points = _in_parts(halved)
    return Moved({name: images[name] for name in ("fixed", "moving")}, "generic", *points)


def cords(preset: str) -> Callable[[Path, int], Moved]:
    """Return T1 and T2 of a neck: even seeds, and the other way round: odd ones."""

    def make(data: Path, seed: int) -> Moved:
        names = ("moving", "fixed") if seed % 2 else ("fixed", "moving")
        images = {
            part: nephi.read_image(data / "cord_mr" / f"{name}.nii.gz")
            for part, name in zip(("fixed", "moving"), names, strict=True)
        }
        points = _label_points(data / "cord_mr" / "fixed_labels.nii.gz")
        return Moved(images, preset, points, points)

    return make


GROUPS: dict[str, Callable[[Path, int], Moved]] = {
    "lung_ct_masks": lung_ct(True),
    "lung_ct": lung_ct(False),
    "lung_phantom_masks": lung_phantoms(True),
    "lung_phantom": lung_phantoms(False),
    "brain_mri_masks": brains(True, False),
    "brain_mri": brains(False, False),
    "brain_contrast_masks": brains(True, True),
    "brain_contrast": brains(False, True),
    "stains": stains,
    "parts": parts,
    "cord_mr_generic": cords("generic"),
    "cord_mr_multimodal": cords("multimodal"),
}


def with_moved_header(
    images: dict[str, nephi.Image], points: tuple[torch.Tensor, torch.Tensor], preset: str, masks: bool, seed: int
) -> Moved:
    """Return images and points with the moving side moved by a seed's motion."""
    matrix = Motion.random(seed).about(images["moving"].grid.centre_world())
    kept = {name: image for name, image in images.items() if masks or not name.endswith("mask")}
    moved = {
        name: image.with_grid(image.grid.transformed(matrix)) if name.startswith("moving") else image
        for name, image in kept.items()
    }
    return Moved(moved, preset, points[0], nephi.AffineTransform(matrix)(points[1]))


Parts = tuple[dict[str, nephi.Image], tuple[torch.Tensor, torch.Tensor]]


def _in_parts(pair: PhantomPair) -> Parts:
    names = ("fixed", "moving", "fixed_mask", "moving_mask")
    points = pair.landmarks.fixed.coordinates, pair.landmarks.moving.coordinates
    return {name: getattr(pair, name) for name in names}, points


@lru_cache(maxsize=3)
def _lungs(seed: int) -> PhantomPair:
    return lung_phantom(seed, 25.0)


@lru_cache(maxsize=1)
def _lung_ct(data: Path) -> Parts:
    names = ("fixed", "moving", "fixed_mask", "moving_mask")
    pairs = nephi.read_point_pairs(data / "lung_ct" / "landmarks.csv")
    images = {name: nephi.read_image(data / "lung_ct" / f"{name}.mha") for name in names}
    return images, (pairs.fixed.coordinates, pairs.moving.coordinates)


@lru_cache(maxsize=2)
def _brains(data: Path, contrast: bool) -> Parts:
    """Return both brains, and points in the labels, which the headers align to a few millimetres."""
    folder = data / "brain_mri"
    images = {name: nephi.read_image(folder / f"{name}.nii.gz") for name in ("fixed", "moving")}
    for name in ("fixed", "moving"):
        labels = nephi.read_image(folder / f"{name}_labels.nii.gz")
        images[f"{name}_mask"] = labels.with_data((labels.data > 0).to(torch.uint8))
    if contrast:  # as pairs.remap: bright fluid, dark grey, lighter white matter
        values = images["moving"].data.float()
        curve = 0.55 + 0.45 * torch.cos(2 * torch.pi / 0.6 * values)
        images["moving"] = images["moving"].with_data(torch.where(values > 0, curve, 0.0))
    points = _label_points(folder / "fixed_labels.nii.gz")
    return images, (points, points)


def _label_points(path: Path) -> torch.Tensor:
    return MaskPoints(nephi.read_image(path)).draw(POINTS, torch.Generator().manual_seed(0)).double()
