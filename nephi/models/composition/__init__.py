"""Combinators: networks of deformations composed of others."""

from nephi.models.composition.steps import Steps, averaged, check_downsampling, downsampled
from nephi.models.composition.swapped import Swapped

__all__ = ["Steps", "Swapped", "averaged", "check_downsampling", "downsampled"]
