"""Fixtures shared with the tests of models."""

from ..models.conftest import dimension, field_settings, grid, images

__all__ = ["dimension", "field_settings", "grid", "images"]
