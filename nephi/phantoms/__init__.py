"""Synthetic image pairs with a known deformation, generated in memory."""

from nephi.phantoms.bodies import Bodies
from nephi.phantoms.lungs import lung_phantom
from nephi.phantoms.motion import Breathing, WaveMotion
from nephi.phantoms.pair import PhantomPair
from nephi.phantoms.shapes import shapes_phantom
from nephi.phantoms.silhouettes import silhouettes

__all__ = ["Bodies", "Breathing", "PhantomPair", "WaveMotion", "lung_phantom", "shapes_phantom", "silhouettes"]
