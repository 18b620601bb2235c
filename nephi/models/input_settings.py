"""The settings of a model's input, and the grid of its box."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.settings.validation import LARGEST, SMALLEST
from nephi.tables import short_repr

MASKS = ("none", "given", "lungs", "foreground")
OUTSIDES = ("shown", "dark", "bright")
CENTRES = ("image", "mask")
EXTENTS = ("fixed", "image")
PERCENTILES_OF = ("foreground", "image")
SMOOTHINGS = ("gaussian", "none")
LARGEST_SIZE = 2**31  # voxels


@dataclass(frozen=True)
class InputSettings:
    """How images are resampled to the input of a model; stored with the model.

    shape, spacing: voxels of the model's box along each axis and their distance in mm; the axes are the world's (RAS).
    window: `(low, high)` becomes (0, 1), values beyond are clamped; empty: computed for each image from `percentiles`.
    percentiles_of: `foreground`: percentiles of the voxels above the minimum, inside the mask if there is one; `image`:
        of all voxels, as published models compute them (see `ranked_window`).
    highest: value of the upper end of the window, above 0, at most 1.
    mask: `none`; `given`: each image must come with a mask; `lungs` (segmented automatically) or `foreground` (voxels
        above the minimum) for images that come without a mask.
    outside_mask: voxels outside the mask are `shown`, or set to `dark` (0), like the background of a head, or `bright`
        (1), like the tissue around the lungs.
    centre: the centre of the `image`, or of the foreground of its `mask`, lies at the centre of the model's box.
    extent: `fixed`: the box covers `shape * spacing` mm of the image's world; `image`: the image's field of view (the
        bounding box along the world's axes of all voxels) is scaled to the box, each axis by its own factor. Lengths in
        mm of the model are then those of its box.
    smoothing: `gaussian`: images of smaller voxels than the model's are smoothed to the width of its voxels first;
        `none`: window and mask are applied to the voxels of the image, which are then interpolated linearly, as
        published models do it.
    """

    shape: tuple[int, ...] = (96, 96, 96)
    spacing: tuple[float, ...] = (4.0, 4.0, 4.0)
    window: tuple[float, ...] = ()
    percentiles: tuple[float, float] = (0.5, 99.5)
    mask: str = "none"
    outside_mask: str = "shown"
    centre: str = "image"
    extent: str = "fixed"
    percentiles_of: str = "foreground"
    highest: float = 1.0
    smoothing: str = "gaussian"

    def __post_init__(self) -> None:
        if len(self.shape) not in (2, 3) or min(self.shape) < 2:
            raise UsageError(
                f"input.shape: expected 2 or 3 numbers of voxels of at least 2, got {short_repr(self.shape)}"
            )
        if math.prod(self.shape) > LARGEST_SIZE:
            raise UsageError(f"input.shape: expected at most {LARGEST_SIZE} voxels, got {short_repr(self.shape)}")
        if len(self.spacing) != len(self.shape) or not all(SMALLEST <= s <= LARGEST for s in self.spacing):
            raise UsageError(
                f"input.spacing: expected {len(self.shape)} lengths in mm above 0, got {short_repr(self.spacing)}"
            )
        if self.window and (len(self.window) != 2 or not -LARGEST <= self.window[0] < self.window[1] <= LARGEST):
            raise UsageError(f"input.window: expected two numbers, low below high, got {short_repr(self.window)}")
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise UsageError(f"input.percentiles: expected 0 <= low < high <= 100, got {self.percentiles}")
        if not 0.01 <= self.highest <= 1:
            raise UsageError(f"input.highest: expected 0.01 to 1, got {self.highest}")
        allowed = {"mask": MASKS, "outside_mask": OUTSIDES, "centre": CENTRES, "extent": EXTENTS}
        allowed |= {"percentiles_of": PERCENTILES_OF, "smoothing": SMOOTHINGS}
        for name, choices in allowed.items():
            if getattr(self, name) not in choices:
                raise UsageError(f"input.{name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if self.mask == "none" and (self.outside_mask != "shown" or self.centre == "mask"):
            setting = 'centre = "mask"' if self.outside_mask == "shown" else f'outside_mask = "{self.outside_mask}"'
            raise UsageError(f"input.mask: expected given, lungs or foreground for {setting}, got none")
        if self.extent == "image" and self.centre == "mask":
            raise UsageError('input.centre: expected "image" for extent = "image", got "mask"')

    @property
    def dimension(self) -> int:
        """Number of axes D, 2 or 3."""
        return len(self.shape)

    @property
    def outside(self) -> float:
        """Value of moved images beyond the border of the model's box: 1 for bright surroundings, else 0."""
        return float(self.outside_mask == "bright")


def input_grid(settings: InputSettings) -> Grid:
    """Return the voxels of the model's box: along the world's axes (RAS), centred on the origin."""
    first = [-0.5 * (n - 1) * s for n, s in zip(settings.shape, settings.spacing, strict=True)]
    return Grid.from_spacing(settings.shape, settings.spacing, first)
