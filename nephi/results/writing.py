"""Writing what a registration found, slab by slab, and measuring it on the way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from nephi.fields import nephi_bytes
from nephi.geometry import Grid
from nephi.images import Resampler
from nephi.io import DisplacementWriter, slab_writer
from nephi.metrics import StreamingFoldingStatistics, StreamingInverseError, slab_inside
from nephi.report import RegistrationResult
from nephi.transforms import Transform, displacement_slabs

INVERSE_QUANTUM = 2.0**-12  # mm: what is polished to 0.001 mm is not rounded by as much
GAP_POINTS = 200_000  # voxels of the fixed grid at which inverses are tried: enough for four digits of a mean


def write_results(registration: RegistrationResult, paths: Mapping[str, Path]) -> dict[str, Any]:
    """Write transform, fields and warped image to the paths given by their names in `OUTPUTS`.

    Returns what was measured for the report, if `warp`, `warped` or `report` are among them.
    """
    if "transform" in paths:
        paths["transform"].write_bytes(nephi_bytes(registration.stored))
    measured = {}
    if paths.keys() & {"warp", "warped", "report"}:
        measured = _write_forward(registration, paths.get("warp"), paths.get("warped"))
    if "inverse" in paths:
        _write_inverse(registration.inverse, registration.pair.moving.grid, paths["inverse"])
    return measured


def _write_forward(registration: RegistrationResult, warp: Path | None, warped: Path | None) -> dict[str, Any]:
    """Write forward field and warped image, as asked, in one pass, and measure folding and inverse consistency."""
    pair, transform = registration.pair, registration.transform
    grid, mask = pair.fixed.grid, pair.fixed_mask
    resampler = Resampler(pair.moving, "linear", registration.settings.image.outside)
    folding, stride = StreamingFoldingStatistics(grid, mask), math.ceil(grid.size / GAP_POINTS)
    back = {
        "inverse_consistency_mm": registration.inverse,
        "trained_inverse_mm": registration.stored.trained_inverse,
    }
    gaps = {name: StreamingInverseError(inverse, stride) for name, inverse in back.items() if inverse is not None}
    with ExitStack() as stack, torch.no_grad():
        writer = stack.enter_context(DisplacementWriter(warp, grid)) if warp else None
        append = stack.enter_context(slab_writer(warped, grid, pair.moving.voxel_type)) if warped else None
        for start, stop in grid.slabs():
            points = grid.voxel_centres(start, stop)
            moved = transform(points)
            displacement = moved - points
            if writer:
                writer.write(start, stop, displacement)
            if append:
                append(resampler(moved))
            folding.add(displacement, last=stop == grid.shape[-1])
            inside = None if mask is None else slab_inside(mask, grid, start, stop)
            for gap in gaps.values():
                gap.add(points, moved, inside)
    return {
        "inside_mask": vars(folding.inside_mask.result()) if mask is not None else None,
        "whole_grid": vars(folding.whole_grid.result()),
        **{name: gaps[name].mean if name in gaps else None for name in back},
    }


def _write_inverse(inverse: Transform, grid: Grid, path: Path) -> None:
    with DisplacementWriter(path, grid, quantum=INVERSE_QUANTUM) as writer, torch.no_grad():
        for start, stop, displacement in displacement_slabs(inverse, grid):
            writer.write(start, stop, displacement)
