"""Combinators: networks of deformations composed of others."""

from nephi.models.composition.steps import Steps, check_downsampling
from nephi.models.composition.swapped import Swapped
from nephi.models.composition.warping import averaged, downsampled

__all__ = ["Steps", "Swapped", "averaged", "check_downsampling", "downsampled"]
