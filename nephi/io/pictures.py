"""Grey 2-D pictures (`.png`, `.tif`): their stored numbers, whatever way the file holds them.

ITK decodes most of them. Pillow decodes what ITK refuses (grey with alpha) or misreads (TIFF with alpha, a palette or
fewer than eight bits), and its header says which those are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nephi.errors import DataError, warn
from nephi.geometry import Grid
from nephi.images import Image
from nephi.io.files.messages import python_warnings
from nephi.io.foreign import reading, require_file
from nephi.io.frames import flip_matrix
from nephi.io.itk import grid_of, read_itk, require_dimension, shared_voxels
from nephi.io.voxels import Array, held_voxels

PHOTOMETRIC, BITS, SAMPLES, DESCRIPTION, ORIENTATION = 262, 258, 277, 270, 274  # tags of TIFF
OTHER_SIZES = {
    "ImageJ": re.compile(r"^ImageJ=.*^unit=(?!pixel)", re.DOTALL | re.MULTILINE),
    "OME": re.compile("PhysicalSizeX="),
}
WHITE_IS_ZERO = 0


@dataclass(frozen=True)
class PictureKind:
    """What a header says: Pillow's `mode`, stored `bits` a number, `samples` a pixel, and how white is stored.

    `turned` is the orientation in which the picture is to be shown, 1 as it is stored; `sizes` names the program that
    wrote pixel sizes in a way of its own.
    """

    suffix: str
    mode: str
    bits: int
    samples: int
    white_is_zero: bool
    keyed: bool  # one grey value counts as transparent
    turned: int
    sizes: str

    @property
    def needs_pillow(self) -> bool:
        """Whether ITK refuses or misreads it."""
        if self.suffix == ".png":
            return self.mode == "LA" or (self.keyed and self.samples == 1 and self.mode != "P")
        return self.samples == 2 or self.mode in ("P", "PA") or self.bits < 8


def read_picture(path: Path) -> Image:
    """Read a grey picture as the numbers it stores; its rows are the second axis, as ITK has it.

    Colours of equal red, green and blue are grey; alpha is left out where everything is opaque. Numbers of fewer than
    eight bits are not stretched to 255, and those of a TIFF that stores white as 0 not inverted, with a `DataWarning`.

    Raises `DataError` naming the file when it is damaged, in colour, transparent or of several pages.
    """
    require_file(path)
    what = f"an image in {path.suffix} format"
    kind = _kind_of(path, what)
    if kind is not None:
        _check_geometry(path, kind)
    if kind is not None and kind.needs_pillow:
        grid = _unit_grid(path, what) if kind.suffix == ".png" else _page_grid(read_itk(path, what), path)
        stored = _decoded(path, kind, what)
    else:
        foreign = read_itk(path, what)
        grid, stored = _page_grid(foreign, path), shared_voxels(foreign)
        if stored.ndim > 2:
            stored = _grey(stored, path, kind)
    if kind is not None and stored.dtype == np.uint8 and kind.bits < 8:
        stored = stored // np.uint8(255 // (2**kind.bits - 1))
    if kind is not None and kind.white_is_zero:
        warn(f"{path}: header says that 0 is white (WhiteIsZero); the stored numbers were used, not inverted")
    data, stored_type = held_voxels(stored.T)
    return Image(data, grid, stored_type=stored_type, name=str(path))


def _check_geometry(path: Path, kind: PictureKind) -> None:
    """Warn of pixel sizes and of an orientation that are not used; raise `DataError` for one that ITK applies."""
    if kind.turned != 1 and kind.suffix != ".png":
        raise DataError(
            f"{path}: expected rows stored from the top (Orientation 1), found Orientation {kind.turned}; save the "
            "picture upright, without that tag"
        )
    if kind.turned != 1:
        warn(f"{path}: header says that the picture is to be turned (Orientation {kind.turned}); used as it is stored")
    if kind.sizes:
        warn(
            f"{path}: pixel sizes in the words of {kind.sizes} are not read; those of the resolution tags are used "
            "where their unit is inch or cm, else 1 mm; save it as NIfTI or MetaImage with sizes in mm"
        )


def _kind_of(path: Path, what: str) -> PictureKind | None:
    """Return the kind that Pillow finds in the header; None for a file it does not know, or of 179 million pixels."""
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    suffix = path.suffix.lower()
    try:
        with reading(path, what), python_warnings(path, "PIL"), Pillow.open(path) as picture:
            info: Any = getattr(picture, "tag_v2", {})
            bits = _png_bits(path) if suffix == ".png" else info.get(BITS, 1)  # 1 is TIFF's default
            return PictureKind(
                suffix=suffix,
                mode=picture.mode,
                bits=int(np.atleast_1d(bits)[0]),
                samples=int(info.get(SAMPLES, len(picture.getbands()))),
                white_is_zero=info.get(PHOTOMETRIC) == WHITE_IS_ZERO,
                keyed="transparency" in picture.info,
                turned=int(info.get(ORIENTATION) or picture.getexif().get(ORIENTATION, 1)),
                sizes=next((name for name, said in OTHER_SIZES.items() if said.search(str(info.get(DESCRIPTION)))), ""),
            )
    except DataError as error:
        if isinstance(error.__cause__, UnidentifiedImageError | Pillow.DecompressionBombError):
            return None
        raise


def _png_bits(path: Path) -> int:
    with path.open("rb") as stream:
        return stream.read(25)[24]  # IHDR comes first


def _unit_grid(path: Path, what: str) -> Grid:
    """Return the grid of a PNG file: pixels of 1 mm from the origin, as ITK has it."""
    from PIL import Image as Pillow

    with reading(path, what), python_warnings(path, "PIL"), Pillow.open(path) as picture:
        return Grid(picture.size, flip_matrix(2) @ torch.eye(3, dtype=torch.float64))


def _page_grid(foreign: Any, path: Path) -> Grid:
    require_dimension(foreign, path)
    if foreign.GetDimension() == 3:
        raise DataError(f"{path}: expected one 2-D image, found {foreign.GetSize()[2]} pages; save it as NIfTI")
    return grid_of(foreign, path)


def _decoded(path: Path, kind: PictureKind, what: str) -> Array:
    """Return the grey numbers `(y, x)` as Pillow decodes them."""
    from PIL import Image as Pillow

    if kind.bits > 8 and kind.samples > 1:  # Pillow would cut them to eight
        raise DataError(f"{path}: {kind.bits}-bit grey with alpha is not supported; save the picture without alpha")
    with reading(path, what), python_warnings(path, "PIL"), Pillow.open(path) as picture:
        key = picture.info.get("transparency")
        palette = np.asarray(picture.getpalette() or [], np.uint8).reshape(-1, 3)
        stored: Array = np.array(picture)
    if kind.mode in ("P", "PA"):
        index = stored if stored.ndim == 2 else stored[..., 0]
        return _grey(np.dstack([palette[index], *([stored[..., 1]] if stored.ndim == 3 else [])]), path, kind)
    if stored.ndim == 3:
        return _grey(stored, path, kind)
    if kind.samples > 1:
        raise DataError(f"{path}: expected one number a pixel, found {kind.samples}; extract one channel first")
    if kind.suffix == ".png" and kind.keyed:
        _require_opaque(int((stored == key).sum()), path)
    if stored.dtype == bool:
        stored = stored.astype(np.uint8) * np.uint8(255)
    return 255 - stored if kind.white_is_zero and stored.dtype == np.uint8 else stored  # Pillow has inverted them


def _grey(pixels: Array, path: Path, kind: PictureKind | None) -> Array:
    """Return one channel of `(y, x, C)`: grey, or red, green and blue that are equal, with or without opaque alpha."""
    colours = pixels.shape[-1] - (pixels.shape[-1] in (2, 4))
    if colours < pixels.shape[-1]:
        opaque = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1.0
        _require_opaque(int((pixels[..., -1] != opaque).sum()), path)
    first: Array = pixels[..., 0]
    if all(np.array_equal(first, pixels[..., i]) for i in range(1, colours)):
        return np.ascontiguousarray(first)
    if kind is not None and kind.mode in ("P", "PA"):
        raise DataError(
            f"{path}: expected a grey picture, found indexed colours (a palette); save the indices as a grey picture "
            "if they are labels, else convert it to grey"
        )
    raise DataError(f"{path}: expected a grey picture, found {colours} colours; convert it to grey")


def _require_opaque(transparent: int, path: Path) -> None:
    if transparent:
        raise DataError(
            f"{path}: expected an opaque picture, found {transparent} transparent pixels; fill them with the value of "
            "the background, and save the picture without alpha"
        )
