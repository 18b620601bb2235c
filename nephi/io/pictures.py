"""Read the stored numbers of grey 2-D pictures (`.png`, `.tif`).

ITK decodes most of them. Pillow decodes those that ITK rejects (grey with alpha) or misreads (TIFF with alpha, a
palette or fewer than eight bits); the header, read by Pillow, decides.
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
from nephi.geometry.frames import flip_matrix
from nephi.images import Image
from nephi.images.voxels import Array, voxels_to_tensor
from nephi.io.files.input_files import reading, require_file
from nephi.io.files.messages import collect_python_warnings
from nephi.io.itk import grid_of, read_itk, require_dimension, shared_voxels

PHOTOMETRIC, BITS, SAMPLES, DESCRIPTION, ORIENTATION = 262, 258, 277, 270, 274  # tags of TIFF
SIZE_DESCRIPTIONS = {
    "ImageJ": re.compile(r"^ImageJ=.*^unit=(?!pixel)", re.DOTALL | re.MULTILINE),
    "OME": re.compile("PhysicalSizeX="),
}
WHITE_IS_ZERO = 0


@dataclass(frozen=True)
class PictureKind:
    """Storage of a picture by its header: Pillow's `mode`, `bits` per number, `samples` per pixel, meaning of 0.

    `orientation` is the tag of TIFF and EXIF, 1 if the picture is displayed as stored. `size_writer` is the program
    that wrote pixel sizes into the description, which nephi does not read; empty if none did.
    """

    suffix: str
    mode: str
    bits: int
    samples: int
    white_is_zero: bool
    has_transparent_value: bool  # one grey value is transparent
    orientation: int
    size_writer: str

    @property
    def needs_pillow(self) -> bool:
        """Whether ITK rejects or misreads the picture."""
        if self.suffix == ".png":
            return self.mode == "LA" or (self.has_transparent_value and self.samples == 1 and self.mode != "P")
        return self.samples == 2 or self.mode in ("P", "PA") or self.bits < 8


def read_picture(path: Path) -> Image:
    """Read the stored numbers of a grey picture; its rows are the second axis, as in ITK.

    Colours with equal red, green and blue are grey; alpha is dropped if all pixels are opaque. Numbers of fewer than
    eight bits are not stretched to 255. Numbers of a TIFF that stores white as 0 are not inverted; a `DataWarning`
    states that.

    Raises `DataError` naming the file when it is damaged, in colour, transparent or of several pages.
    """
    require_file(path)
    what = f"an image in {path.suffix} format"
    kind = _kind_of(path, what)
    if kind is not None:
        _check_geometry(path, kind)
    if kind is not None and kind.needs_pillow:
        grid = _unit_grid(path, what) if kind.suffix == ".png" else _page_grid(read_itk(path, what), path)
        stored = _decode_with_pillow(path, kind, what)
    else:
        itk_image = read_itk(path, what)
        grid, stored = _page_grid(itk_image, path), shared_voxels(itk_image)
        if stored.ndim > 2:
            stored = _grey(stored, path, kind)
    if kind is not None and stored.dtype == np.uint8 and kind.bits < 8:
        stored = stored // np.uint8(255 // (2**kind.bits - 1))
    if kind is not None and kind.white_is_zero:
        warn(f"{path}: the header defines 0 as white (WhiteIsZero); the stored numbers were used, not inverted")
    data, stored_type = voxels_to_tensor(stored.T)
    return Image(data, grid, stored_type=stored_type, name=str(path))


def _check_geometry(path: Path, kind: PictureKind) -> None:
    """Warn about pixel sizes and an orientation that are not used; raise `DataError` for one that ITK applies."""
    if kind.orientation != 1 and kind.suffix != ".png":
        raise DataError(
            f"{path}: expected rows stored from the top (Orientation 1), found Orientation {kind.orientation}; save "
            "the picture upright, without that tag"
        )
    if kind.orientation != 1:
        warn(f"{path}: the header states Orientation {kind.orientation}; used as stored, not rotated")
    if kind.size_writer:
        warn(
            f"{path}: pixel sizes in the description by {kind.size_writer} were not read; the resolution tags are "
            "used if their unit is inch or cm, else 1 mm; save it as NIfTI or MetaImage with sizes in mm"
        )


def _kind_of(path: Path, what: str) -> PictureKind | None:
    """Read the header with Pillow; return None for a format that Pillow does not support, or 179 million pixels."""
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    suffix = path.suffix.lower()
    try:
        with reading(path, what), collect_python_warnings(path, "PIL"), Pillow.open(path) as picture:
            info: Any = getattr(picture, "tag_v2", {})
            bits = _png_bits(path) if suffix == ".png" else info.get(BITS, 1)  # 1 is TIFF's default
            return PictureKind(
                suffix=suffix,
                mode=picture.mode,
                bits=int(np.atleast_1d(bits)[0]),
                samples=int(info.get(SAMPLES, len(picture.getbands()))),
                white_is_zero=info.get(PHOTOMETRIC) == WHITE_IS_ZERO,
                has_transparent_value="transparency" in picture.info,
                orientation=int(info.get(ORIENTATION) or picture.getexif().get(ORIENTATION, 1)),
                size_writer=_size_writer(str(info.get(DESCRIPTION))),
            )
    except DataError as error:
        if isinstance(error.__cause__, UnidentifiedImageError | Pillow.DecompressionBombError):
            return None
        raise


def _size_writer(description: str) -> str:
    return next((name for name, pattern in SIZE_DESCRIPTIONS.items() if pattern.search(description)), "")


def _png_bits(path: Path) -> int:
    with path.open("rb") as stream:
        return stream.read(25)[24]  # IHDR comes first


def _unit_grid(path: Path, what: str) -> Grid:
    """Return the grid of a PNG file: pixels of 1 mm from the origin, as in ITK."""
    from PIL import Image as Pillow

    with reading(path, what), collect_python_warnings(path, "PIL"), Pillow.open(path) as picture:
        return Grid(picture.size, flip_matrix(2) @ torch.eye(3, dtype=torch.float64))


def _page_grid(image: Any, path: Path) -> Grid:
    require_dimension(image, path)
    if image.GetDimension() == 3:
        raise DataError(f"{path}: expected one 2-D image, found {image.GetSize()[2]} pages; save it as NIfTI")
    return grid_of(image, path)


def _decode_with_pillow(path: Path, kind: PictureKind, what: str) -> Array:
    """Decode the grey numbers `(y, x)` with Pillow."""
    from PIL import Image as Pillow

    if kind.bits > 8 and kind.samples > 1:  # Pillow truncates them to eight bits
        raise DataError(
            f"{path}: expected 8-bit grey with alpha, found {kind.bits} bits; save the picture without alpha"
        )
    with reading(path, what), collect_python_warnings(path, "PIL"), Pillow.open(path) as picture:
        transparent = picture.info.get("transparency")
        palette = np.asarray(picture.getpalette() or [], np.uint8).reshape(-1, 3)
        stored: Array = np.array(picture)
    if kind.mode in ("P", "PA"):
        index = stored if stored.ndim == 2 else stored[..., 0]
        return _grey(np.dstack([palette[index], *([stored[..., 1]] if stored.ndim == 3 else [])]), path, kind)
    if stored.ndim == 3:
        return _grey(stored, path, kind)
    if kind.samples > 1:
        raise DataError(f"{path}: expected one number a pixel, found {kind.samples}; extract one channel first")
    if kind.suffix == ".png" and kind.has_transparent_value:
        _require_opaque(int((stored == transparent).sum()), path)
    if stored.dtype == bool:
        stored = stored.astype(np.uint8) * np.uint8(255)
    return 255 - stored if kind.white_is_zero and stored.dtype == np.uint8 else stored  # undo the inversion by Pillow


def _grey(pixels: Array, path: Path, kind: PictureKind | None) -> Array:
    """Return one channel of `(y, x, C)`, which is grey, or equal red, green and blue, with or without opaque alpha."""
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
