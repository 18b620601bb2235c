"""A small study of one breathing chest: CT and MR at exhale and inhale, masks, labels, landmarks, the true motion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nephi.geometry import Grid, PointPairs
from nephi.images import Image
from nephi.phantoms.chest import APEX, BASE, BODY
from nephi.phantoms.grids import field_of_view, rotation
from nephi.phantoms.lungs import lung_phantom
from nephi.phantoms.pair import PhantomPair
from nephi.transforms import AffineTransform, Transform, affine_fit, invert

MOTION = 20.0  # mm: largest displacement in the lungs
NOISE = 20.0  # HU of the CT, and units of the MR
LEAST_CT = -1024  # HU: the stored value 0 of scanners
SHAPES = ((66, 50, 56), (68, 50, 60))  # voxels at exhale and inhale
TURN = (0.02, -0.03, 0.04)  # rad: the chest lies turned on the couch at inhale
# HU and MR intensity of air, lung, fat, muscle and blood, bone: not monotone, as a T1-weighted image.
CONTRAST = ((-1000.0, -840.0, -100.0, 45.0, 420.0), (5.0, 40.0, 800.0, 400.0, 60.0))


@dataclass(frozen=True, eq=False)
class BreathingStudy:
    """Images of one chest at exhale (fixed) and inhale (moving), on different grids, and the true motion.

    `exhale` and `inhale` are CT (int16, HU), `exhale_mr` and `inhale_mr` the same chest in another contrast (int16).
    The label maps (uint8) are 1 in the right and 2 in the left lung, the masks 1 in both. `transform` maps exhale to
    inhale points (world mm, RAS), by Newton's method; `inverse` is in closed form; `affine` is the least squares fit to
    the `landmarks`, which are exact.
    """

    exhale: Image
    inhale: Image
    exhale_mask: Image
    inhale_mask: Image
    exhale_labels: Image
    inhale_labels: Image
    exhale_mr: Image
    inhale_mr: Image
    transform: Transform
    inverse: Transform
    affine: AffineTransform
    landmarks: PointPairs


@torch.no_grad()
def breathing_study(seed: int = 0) -> BreathingStudy:
    """Return the study of `seed`: another seed is another patient, with the same organs but other vessels and motion.

    The images are those of `lung_phantom`, whose fixed image is the inhaled one: here fixed and moving are exchanged,
    so that the Jacobian determinant of `transform` is above 1 where air flows in.
    """
    exhale_grid, inhale_grid = _grids()
    phantom = lung_phantom(seed, MOTION, noise=0.0, fixed_grid=inhale_grid, moving_grid=exhale_grid)
    pair = PhantomPair(
        fixed=phantom.moving,
        moving=phantom.fixed,
        fixed_mask=phantom.moving_mask,
        moving_mask=phantom.fixed_mask,
        transform=invert(phantom.transform),
        landmarks=PointPairs(phantom.landmarks.moving, phantom.landmarks.fixed),
    )
    fixed, moving = pair.landmarks.fixed.coordinates, pair.landmarks.moving.coordinates
    generator = torch.Generator().manual_seed(seed)
    return BreathingStudy(
        exhale=_noisy(pair.fixed, pair.fixed.data.float(), generator, LEAST_CT, "exhale"),
        inhale=_noisy(pair.moving, pair.moving.data.float(), generator, LEAST_CT, "inhale"),
        exhale_mask=pair.fixed_mask,
        inhale_mask=pair.moving_mask,
        exhale_labels=_sides(pair.fixed_mask, "exhale labels"),
        inhale_labels=_sides(pair.moving_mask, "inhale labels"),
        exhale_mr=_noisy(pair.fixed, _mr_values(pair.fixed.data), generator, 0, "exhale MR"),
        inhale_mr=_noisy(pair.moving, _mr_values(pair.moving.data), generator, 0, "inhale MR"),
        transform=pair.transform,
        inverse=phantom.transform,
        affine=affine_fit(fixed[None], moving[None]).one(0),
        landmarks=pair.landmarks,
    )


def _grids() -> tuple[Grid, Grid]:
    """Return right-handed grids of axial slices at exhale and inhale, of other sizes, spacings and positions."""
    left_back_up = torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64))
    height, middle = APEX - BASE + 26.0, (APEX + BASE) / 2
    exhale = (2 * BODY[0] + 12, 2 * BODY[1] + 14, height + 14)
    inhale = (2 * BODY[0] + 8, 2 * BODY[1] + 8, height + MOTION)
    return (
        field_of_view(SHAPES[0], exhale, (3.0, -2.0, middle), left_back_up),
        field_of_view(SHAPES[1], inhale, (0.0, 0.0, middle - MOTION / 2), rotation(*TURN) @ left_back_up),
    )


def _noisy(image: Image, values: Tensor, generator: torch.Generator, least: int, name: str) -> Image:
    """Return values with noise, none below the least that a scanner stores."""
    noise = NOISE * torch.randn(values.shape, generator=generator, dtype=torch.float32)
    return Image((values + noise).round().clamp(min=least).to(torch.int16), image.grid, name=name)


def _mr_values(hounsfield: Tensor) -> Tensor:
    return torch.from_numpy(np.interp(hounsfield.numpy(), *CONTRAST)).float()


def _sides(mask: Image, name: str) -> Image:
    """Return 1 in the right and 2 in the left lung, which the plane between the halves of the body separates."""
    left = mask.grid.voxel_centres()[..., 0] < 0
    return Image(mask.data * (1 + left.to(torch.uint8)), mask.grid, name=name)
