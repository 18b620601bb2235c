"""Images on grids: voxels, interpolation, resampling, smoothing, and a segmentation of the lungs."""

from nephi.images.detail import detail_length
from nephi.images.exchange import ForeignImage, library_of
from nephi.images.image import Image
from nephi.images.interpolators import INTERPOLATIONS, LABEL_INTERPOLATIONS
from nephi.images.lungs import find_lungs
from nephi.images.mapping import Mapping
from nephi.images.origin import Origin
from nephi.images.pyramid import Pyramid, smoothed
from nephi.images.resample import Resampler, resample, warn_of_units
from nephi.images.sampler import ImageSampler

__all__ = [
    "INTERPOLATIONS",
    "LABEL_INTERPOLATIONS",
    "ForeignImage",
    "Image",
    "ImageSampler",
    "Mapping",
    "Origin",
    "Pyramid",
    "Resampler",
    "detail_length",
    "find_lungs",
    "library_of",
    "resample",
    "smoothed",
    "warn_of_units",
]
