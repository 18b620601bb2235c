"""HTML of an image in notebooks: its middle planes, in radiological orientation, and its grid."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nephi.errors import printable
from nephi.geometry import Grid

SIDE = 160  # pixels of the longest edge of a picture
VIEWS = {2: ((0, 1),), 3: ((0, 1), (0, 2), (1, 2))}  # world axes to the right and down: axial, coronal, sagittal
PERCENTILES = (1.0, 99.0)  # of the planes' values: black and white


def image_html(data: Tensor, grid: Grid, rows: Sequence[tuple[str, str]]) -> str:
    """Return pictures of the middle planes of voxels on `grid`, and a table of two columns."""
    axes = voxel_axes(grid)
    planes = [middle_plane(data, grid, axes, right, down) for right, down in VIEWS[grid.dimension]]
    values = np.concatenate([plane[np.isfinite(plane)] for plane in planes])
    low, high = np.percentile(values, PERCENTILES) if len(values) else (0.0, 1.0)
    if low == high:
        low, high = float(values.min(initial=low)), float(values.max(initial=high))
    longest = max(float(n * s) for n, s in zip(grid.shape, grid.spacing, strict=True))
    pictures = []
    for (right, down), plane in zip(VIEWS[grid.dimension], planes, strict=True):
        width, height = (
            max(1, round(SIDE * grid.shape[axes[axis]] * float(grid.spacing[axes[axis]]) / longest))
            for axis in (right, down)
        )
        uri = png_uri(np.nan_to_num(255 * np.clip((plane - low) / ((high - low) or 1.0), 0, 1)).astype(np.uint8))
        style = f"display: inline; margin: 0 6px 0 0; width: {width}px; height: {height}px"
        pictures.append(f'<img src="{uri}" alt="middle plane" style="{style}">')
    table = "".join(f'<tr><th scope="row">{escape(n)}</th><td>{escape(printable(v))}</td></tr>' for n, v in rows)
    return f'<div style="font: 14px/1.5 system-ui, sans-serif"><p>{"".join(pictures)}</p><table>{table}</table></div>'


def voxel_axes(grid: Grid) -> list[int]:
    """Return for each world axis the voxel axis that is closest to it; no voxel axis twice."""
    remaining, chosen = grid.direction.abs().clone(), [0] * grid.dimension
    for _ in range(grid.dimension):
        world, voxel = divmod(int(remaining.argmax()), grid.dimension)
        chosen[world] = voxel
        remaining[world], remaining[:, voxel] = -1, -1
    return chosen


def middle_plane(data: Tensor, grid: Grid, axes: Sequence[int], right: int, down: int) -> NDArray[np.float64]:
    """Return the middle plane of two world axes: from their high to their low end, right and down, as doctors do.

    It has at most `SIDE` voxels along each edge, every second, third ... one of a larger plane.
    """
    index: list[int | slice] = [n // 2 for n in grid.shape]
    for axis in (right, down):
        voxel = axes[axis]
        index[voxel] = slice(None, None, -(-grid.shape[voxel] // SIDE))
    plane = data[tuple(index)].cpu()
    if axes[right] < axes[down]:
        plane = plane.T
    plane = plane.flip([i for i, axis in enumerate((down, right)) if grid.direction[axis, axes[axis]] > 0])
    return np.asarray(plane.to(torch.float64).numpy())


def png_uri(grey: NDArray[np.uint8]) -> str:
    """Return a grey picture `(H, W)` as a `data:` address of a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(grey).save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
