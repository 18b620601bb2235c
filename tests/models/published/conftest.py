"""Fixtures shared with the tests of models."""

from ..conftest import dimension, grid, images

__all__ = ["dimension", "grid", "images"]
