"""Many small pictures in one file: a sheet of tiles, as text that a page can hold."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

Bytes = NDArray[np.uint8]

QUALITY = 82


@dataclass(frozen=True)
class Sheet:
    """Tiles in `rows` x `columns`, read line by line; `uri` is the whole as a `data:` address."""

    uri: str
    rows: int
    columns: int


def grey_sheet(tiles: Bytes) -> Sheet:
    """Return grey pictures `(N, H, W)` as a JPEG sheet."""
    from PIL import Image

    sheet, rows, columns = _laid_out(tiles)
    return Sheet(_uri(Image.fromarray(sheet), "jpeg", quality=QUALITY), rows, columns)


def indexed_sheet(tiles: Bytes, palette: Bytes) -> Sheet:
    """Return pictures `(N, H, W)` of indices into `palette` `(K, 4)`, RGBA, as a PNG sheet."""
    from PIL import Image

    sheet, rows, columns = _laid_out(tiles)
    image = Image.fromarray(sheet).convert("L")
    image.putpalette(palette[:, :3].tobytes())
    return Sheet(_uri(image, "png", transparency=palette[:, 3].tobytes(), compress_level=6), rows, columns)


def _laid_out(tiles: Bytes) -> tuple[Bytes, int, int]:
    """Return tiles `(N, H, W)` as one picture, as wide as it is high in tiles; places left over are 0."""
    count, height, width = tiles.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.zeros((rows * columns, height, width), dtype=np.uint8)
    sheet[:count] = tiles
    return sheet.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, -1), rows, columns


def _uri(image: Image, kind: str, **options: object) -> str:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
