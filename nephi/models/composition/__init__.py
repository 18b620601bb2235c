"""Combinators: networks of deformations composed of others."""

from nephi.models.composition.antisymmetric import GROUPS, Antisymmetric
from nephi.models.composition.consistent import Consistent
from nephi.models.composition.steps import Steps, check_downsampling
from nephi.models.composition.swapped import Swapped
from nephi.models.composition.warping import averaged, downsampled, strided

__all__ = [
    "GROUPS",
    "Antisymmetric",
    "Consistent",
    "Steps",
    "Swapped",
    "averaged",
    "check_downsampling",
    "downsampled",
    "strided",
]
