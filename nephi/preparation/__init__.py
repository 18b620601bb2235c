"""The two images of a registration: read, checked, with masks and intensity windows."""

from nephi.preparation.field_of_view import suited_initial, within_moving
from nephi.preparation.inputs import Source, as_image, prepare
from nephi.preparation.intensities import Window, intensity_window
from nephi.preparation.mask_placement import require_mask_inside
from nephi.preparation.masks import found_mask
from nephi.preparation.pair import Pair, warnings_about

__all__ = [
    "Pair",
    "Source",
    "Window",
    "as_image",
    "found_mask",
    "intensity_window",
    "prepare",
    "require_mask_inside",
    "suited_initial",
    "warnings_about",
    "within_moving",
]
