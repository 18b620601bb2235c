"""The images of a registration as the report page lists them: grids, masks and intensities."""

from __future__ import annotations

from dataclasses import dataclass

from nephi.geometry import Grid
from nephi.images import Image
from nephi.preparation import Pair, is_found

ENDS = ("LR", "PA", "IS")  # letters of the low and the high end of each world axis (RAS)
OBLIQUE = 0.999  # cosine below which an axis is called oblique: 2.5 degrees


@dataclass(frozen=True)
class InputImage:
    """One image: its role and name, and as texts its grid, intensity window, and mask; `mask` is empty without one.

    `axes` are the letters of the directions in which the voxel axes run, e.g. `LPS`.
    """

    role: str
    name: str
    size: str
    spacing: str
    axes: str
    window: str
    mask: str
    mask_size: str


def input_images(pair: Pair) -> list[InputImage]:
    """Return the images of a pair, those of further channels last."""
    rows = [
        _input_image("fixed", pair.fixed, pair.fixed_window, pair.fixed_mask),
        _input_image("moving", pair.moving, pair.moving_window, pair.moving_mask),
    ]
    for number, channel in enumerate(pair.channels, start=2):
        images = channel.images
        rows.append(_input_image(f"fixed, channel {number}", images.fixed, images.fixed_window, None))
        rows.append(_input_image(f"moving, channel {number}", images.moving, images.moving_window, None))
    return rows


def axis_letters(grid: Grid) -> str:
    """Return the letters of the world directions nearest to the voxel axes, as `LPS`; `, oblique` if one is tilted."""
    letters, cosines = [], []
    for axis in grid.direction.T:
        nearest = int(axis.abs().argmax())
        letters.append(ENDS[nearest][int(axis[nearest] > 0)])
        cosines.append(abs(float(axis[nearest])))
    return "".join(letters) + (", oblique" if min(cosines) < OBLIQUE else "")


def _input_image(role: str, image: Image, window: tuple[float, float], mask: Image | None) -> InputImage:
    grid = image.grid
    return InputImage(
        role=role,
        name=image.name,
        size=_by([str(n) for n in grid.shape]),
        spacing=_by([f"{length:.4g}" for length in grid.spacing.tolist()]),
        axes=axis_letters(grid),
        window=f"{window[0]:.4g} to {window[1]:.4g}",
        mask="" if mask is None else "found in the image" if is_found(mask, image) else mask.name,
        mask_size="" if mask is None else _mask_size(mask),
    )


def _mask_size(mask: Image) -> str:
    voxels = int((mask.data > 0).sum())
    measure = voxels * float(mask.grid.spacing.prod())
    size = f"{measure / 1000:.4g} ml" if mask.grid.dimension == 3 else f"{measure:.4g} mm²"
    return f"{voxels} voxels, {100 * voxels / mask.grid.size:.3g} %, {size}"


def _by(numbers: list[str]) -> str:
    return " × ".join(numbers)
