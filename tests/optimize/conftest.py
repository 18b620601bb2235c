"""Fixtures shared by the tests of rooms that register one pair."""

from ..pairs import brief, changed, fitted, quick, saved, shapes

__all__ = ["brief", "changed", "fitted", "quick", "saved", "shapes"]
