"""Synthetic image pairs with a known deformation, generated in memory."""

from nephi.phantoms.bodies import Bodies
from nephi.phantoms.channels import two_channels
from nephi.phantoms.local import local_motion_phantom
from nephi.phantoms.lungs import lung_phantom
from nephi.phantoms.motion import Breathing, WaveMotion
from nephi.phantoms.pair import PhantomPair
from nephi.phantoms.partial import half_field_of_view
from nephi.phantoms.ribbon import ribbon_phantom
from nephi.phantoms.shapes import shapes_phantom
from nephi.phantoms.silhouettes import silhouettes
from nephi.phantoms.sliding import sliding_phantom
from nephi.phantoms.stains import stains_phantom
from nephi.phantoms.study import BreathingStudy, breathing_study

__all__ = [
    "Bodies",
    "Breathing",
    "BreathingStudy",
    "PhantomPair",
    "WaveMotion",
    "breathing_study",
    "half_field_of_view",
    "local_motion_phantom",
    "lung_phantom",
    "ribbon_phantom",
    "shapes_phantom",
    "silhouettes",
    "sliding_phantom",
    "stains_phantom",
    "two_channels",
]
