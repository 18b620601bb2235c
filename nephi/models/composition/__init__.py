"""Combinators: networks of deformations composed of others."""

from nephi.models.composition.antisymmetric import GROUPS, Antisymmetric
from nephi.models.composition.augmented import Augmented, RandomMaps
from nephi.models.composition.composed_steps import ComposedSteps
from nephi.models.composition.consistent import Consistent
from nephi.models.composition.rotations import random_rotations, warp_images
from nephi.models.composition.steps import Steps, check_downsampling
from nephi.models.composition.swapped import Swapped
from nephi.models.composition.warping import averaged, downsampled, strided

__all__ = [
    "GROUPS",
    "Antisymmetric",
    "Augmented",
    "ComposedSteps",
    "Consistent",
    "RandomMaps",
    "Steps",
    "Swapped",
    "averaged",
    "check_downsampling",
    "downsampled",
    "random_rotations",
    "strided",
    "warp_images",
]
