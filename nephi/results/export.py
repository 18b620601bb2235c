"""Write the fields of a registration and the warped image slab by slab, and measure the fields while writing.

Slabs are computed, then encoded and measured, by several threads (`map_ordered`); what depends on their order, as the
neighbours of a slab and sums, is done between these two steps and after them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.images import Resampler
from nephi.io import DisplacementWriter, slab_writer
from nephi.metrics import FieldPart, FoldingPair, StreamingFoldingStatistics, StreamingInverseError, slab_inside
from nephi.ordered_map import map_ordered
from nephi.report import RegistrationResult
from nephi.transforms import Transform, displacement_slabs

INVERSE_QUANTUM = 2.0**-12  # mm; inverses are exact to 0.001 mm, so rounding must be finer
INVERSE_POINTS = 200_000  # voxels at which the inverse error is measured: enough for four digits of its mean


@torch.no_grad()
def write_forward(registration: RegistrationResult, warp: Path | None, warped: Path | None) -> dict[str, Any]:
    """Write forward field and warped image (None: not written) slab by slab; return folding and inverse consistency."""
    pair, transform = registration.pair, registration.transform
    grid, measures = pair.fixed.grid, _Measures(registration)
    resampler = Resampler(pair.moving, "linear", registration.settings.image.outside) if warped else None
    with ExitStack() as stack:
        writer = stack.enter_context(DisplacementWriter(warp, grid, ordered_map=map_ordered)) if warp else None
        append = stack.enter_context(slab_writer(warped, grid, pair.moving.voxel_type)) if warped else None

        def compute(limits: tuple[int, int]) -> _Slab:
            points = grid.voxel_centres(*limits)
            warped_points = transform(points)
            values = resampler(warped_points) if resampler else None
            return _Slab(limits, points, warped_points, values)

        def encode_and_measure(part: _Part) -> tuple[list[bytes] | None, Tensor | None, _Measured]:
            encoded = writer.encode(*part.limits, part.displacement) if writer else None
            return encoded, part.values, measures.measure(part)

        parts = measures.parts(map_ordered(compute, grid.slabs()))
        results = map_ordered(encode_and_measure, parts)
        for limits, (encoded, values, measured) in zip(grid.slabs(), results, strict=True):
            if writer and encoded is not None:
                writer.write_encoded(*limits, encoded)
            if append and values is not None:
                append(values)
            measures.include(measured)
    return measures.table()


@torch.no_grad()
def write_inverse(inverse: Transform, grid: Grid, path: Path) -> None:
    """Write the displacement field of an inverse on the moving grid slab by slab."""
    with DisplacementWriter(path, grid, quantum=INVERSE_QUANTUM, ordered_map=map_ordered) as writer:

        def encode(slab: tuple[int, int, Tensor]) -> tuple[int, int, list[bytes]]:
            return *slab[:2], writer.encode(*slab)

        for start, stop, encoded in map_ordered(encode, displacement_slabs(inverse, grid, map_ordered)):
            writer.write_encoded(start, stop, encoded)


@dataclass(frozen=True, eq=False)
class _Slab:
    """Slices `limits` (start, stop) of the last axis: their points, the warped points, and the image's values there."""

    limits: tuple[int, int]
    points: Tensor
    warped_points: Tensor
    values: Tensor | None


@dataclass(frozen=True, eq=False)
class _Part:
    """What is written of a slab, and what is measured once it is known.

    `field` is the part of the field whose neighbours are known, `pairs` are points x and phi(x) for each inverse.
    """

    limits: tuple[int, int]
    displacement: Tensor
    values: Tensor | None
    field: FieldPart
    pairs: list[tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class _Measured:
    """Folding statistics of a part, and the errors of each inverse, mm."""

    folding: FoldingPair
    errors: list[Tensor]


class _Measures:
    """Folding and inverse consistency of a forward field, accumulated over its slabs."""

    def __init__(self, registration: RegistrationResult) -> None:
        self.grid, self.mask = registration.pair.fixed.grid, registration.pair.fixed_mask
        self.folding = StreamingFoldingStatistics(self.grid, self.mask, registration.stored.handedness)
        stride = math.ceil(self.grid.size / INVERSE_POINTS)
        inverses = {
            "inverse_consistency_mm": registration.inverse,
            "unrefined_inverse_mm": registration.stored.unrefined_inverse,
        }
        self.errors = {
            name: None if inverse is None else StreamingInverseError(inverse, stride)
            for name, inverse in inverses.items()
        }
        self._known_errors = [error for error in self.errors.values() if error is not None]

    def parts(self, slabs: Iterable[_Slab]) -> Iterator[_Part]:
        """Yield for each slab what is written of it, and what can be measured once it is known."""
        for slab in slabs:
            displacement = slab.warped_points - slab.points
            field = self.folding.next_part(displacement, last=slab.limits[1] == self.grid.shape[-1])
            inside = None if self.mask is None else slab_inside(self.mask, self.grid, *slab.limits)
            pairs = [error.next_points(slab.points, slab.warped_points, inside) for error in self._known_errors]
            yield _Part(slab.limits, displacement, slab.values, field, pairs)

    def measure(self, part: _Part) -> _Measured:
        """Measure a part; several threads may measure different parts."""
        errors = [error.measure(pairs) for error, pairs in zip(self._known_errors, part.pairs, strict=True)]
        return _Measured(self.folding.measure(part.field), errors)

    def include(self, measured: _Measured) -> None:
        """Add what was measured of the next part."""
        self.folding.include(measured.folding)
        for error, lengths in zip(self._known_errors, measured.errors, strict=True):
            error.include(lengths)

    def table(self) -> dict[str, Any]:
        """Return the results of all parts, keyed as in report.json."""
        return {
            "inside_mask": None if self.mask is None else vars(self.folding.inside_mask.result()),
            "whole_grid": vars(self.folding.whole_grid.result()),
            **{name: None if error is None else error.mean for name, error in self.errors.items()},
        }
