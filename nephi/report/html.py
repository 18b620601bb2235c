"""HTML output: templates, and pictures as sprite sheets in `data:` addresses."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nephi.errors import printable

if TYPE_CHECKING:
    from PIL.Image import Image

Bytes = NDArray[np.uint8]

JPEG_QUALITY = 82


def render_template(name: str, **values: object) -> str:
    """Render a file of `templates`; inserted values are escaped for HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_escape_control_characters,
    )
    text: str = environment.get_template(name).render(**values)
    return text


def _escape_control_characters(value: object) -> object:
    """Escape control characters in texts: file names may reverse the writing direction or contain invalid UTF-8."""
    from markupsafe import Markup

    if isinstance(value, str) and not isinstance(value, Markup):
        return "\n".join(map(printable, value.split("\n")))
    return value


@dataclass(frozen=True)
class SpriteSheet:
    """Tiles in one picture of `rows` x `columns`, in reading order; `uri` is a `data:` address."""

    uri: str
    rows: int
    columns: int


def grey_sheet(tiles: Bytes) -> SpriteSheet:
    """Return grey pictures `(N, H, W)` as a JPEG sprite sheet."""
    from PIL import Image

    sheet, rows, columns = _arrange_tiles(tiles)
    return SpriteSheet(_data_uri(Image.fromarray(sheet), "jpeg", quality=JPEG_QUALITY), rows, columns)


def indexed_sheet(tiles: Bytes, palette: Bytes) -> SpriteSheet:
    """Return pictures `(N, H, W)` of indices into `palette` `(K, 4)`, RGBA, as a PNG sprite sheet."""
    from PIL import Image

    sheet, rows, columns = _arrange_tiles(tiles)
    image = Image.fromarray(sheet).convert("L")
    image.putpalette(palette[:, :3].tobytes())
    return SpriteSheet(_data_uri(image, "png", transparency=palette[:, 3].tobytes(), compress_level=6), rows, columns)


def png_bytes(pixels: Bytes) -> bytes:
    """Return a picture `(H, W, 4)`, RGBA, as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", compress_level=1)
    return file.getvalue()


def _arrange_tiles(tiles: Bytes) -> tuple[Bytes, int, int]:
    """Return tiles `(N, H, W)` as one picture, and its number of rows and columns, which are about equal.

    Spare tiles are 0.
    """
    count, height, width = tiles.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.zeros((rows * columns, height, width), dtype=np.uint8)
    sheet[:count] = tiles
    return sheet.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, -1), rows, columns


def _data_uri(image: Image, kind: str, **options: object) -> str:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
