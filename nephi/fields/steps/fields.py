"""Pairs of neural fields as steps of a stored transform."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.fields.build import build_fields
from nephi.fields.grid_table import grid_of, grid_table
from nephi.fields.inverse import PolishedInverse
from nephi.fields.neural_field import FieldPair, NeuralField
from nephi.fields.settings import GRID_ENCODINGS, FieldSettings
from nephi.fields.steps.step import Step
from nephi.geometry import Grid
from nephi.tables import from_table
from nephi.transforms import AffineTransform, Transform

STORED_CODE, GLOBAL_CODE = ".codes.everywhere", ".codes.global_code"  # files keep the name of their first version
SPLINE_VERSION = 4  # of files: the first whose fields may be interpolated by splines
SHARED_CODES = "inverse_field.codes."  # those of the forward field, stored once


@dataclass(frozen=True, eq=False)
class FieldStep(Step):
    """A pair of neural fields over the box of a grid."""

    kind: ClassVar[str] = "fields"
    transform: ClassVar[type[NeuralField]] = NeuralField
    version: ClassVar[int] = 2

    pair: FieldPair

    @classmethod
    def of(cls, transform: NeuralField, inverse: NeuralField | None = None) -> Self:
        """Return the step of a field, and of the inverse field that shares its codes; tables as they will be stored."""
        if inverse is not None:
            inverse.codes = transform.codes  # equal values, copied for each of them
        pair = FieldPair(transform, inverse, replace(transform.settings, inverse=inverse is not None))
        pair.round_tables()
        return cls(pair.requires_grad_(False))

    @property
    def settings(self) -> FieldSettings:
        """The architecture of the fields."""
        return self.pair.settings

    @property
    def forward(self) -> NeuralField:
        """The deformation (world mm, RAS)."""
        return self.pair.forward_field

    @property
    def grid(self) -> Grid:
        """The grid over which the fields are built."""
        return self.pair.grid

    @property
    def unrefined_inverse(self) -> Transform | None:
        """The inverse as it was fitted or predicted; None without one."""
        return self.pair.inverse_field

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.pair.parameters())

    @property
    def interpolation(self) -> str | None:
        """Interpolation of the latent values, a key of `INTERPOLATIONS`; None for fields without latent grids."""
        has_grids = self.settings.encoding in GRID_ENCODINGS or self.settings.local_codes > 0
        return self.settings.interpolation if has_grids else None

    @property
    def file_version(self) -> int:
        """The first version of `.nephi` files that can hold these fields."""
        return self.version if self.settings.degree == 1 else SPLINE_VERSION

    def inverse(self, tolerance: float) -> Transform:
        """Return the inverse, solved until the residual is below `tolerance` mm."""
        return PolishedInverse(self.pair.forward_field, self.pair.inverse_field, tolerance)

    def conjugated(self, to_world: AffineTransform) -> FieldStep | None:
        """Return translated fields; None for other affine maps.

        Amplitudes and nodes of fields are lengths in the box of their grid, equal along all axes.
        """
        if not torch.equal(to_world.matrix[:-1, :-1], torch.eye(self.dimension, dtype=torch.float64)):
            return None
        return FieldStep(self.pair.translated(self.grid.transformed(to_world.matrix)))

    def table(self) -> dict[str, Any]:
        """Return the grid, and the architecture as `field`."""
        field = asdict(self.settings)
        if self.settings.degree == 1:
            del field["interpolation"]  # unknown to the versions of nephi that read files of linear fields
        return {"grid": grid_table(self.grid), "field": field}

    def tensors(self) -> dict[str, Tensor]:
        """Return the parameters of both fields, the codes that they share once."""
        # Tables were rounded to half precision, see FieldPair.round_tables.
        return {
            name.replace(GLOBAL_CODE, STORED_CODE): (
                (value.half() if name.endswith(".table") else value).cpu().contiguous()
            )
            for name, value in self.pair.state_dict().items()
            if not name.startswith(SHARED_CODES)
        }

    @classmethod
    def read(cls, table: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """Return the step of a file."""
        settings, grid = from_table(FieldSettings, table["field"]), grid_of(table["grid"])
        state = {name.replace(STORED_CODE, GLOBAL_CODE): tensors.pop(name) for name in list(tensors)}
        if least_size(settings, grid) > sum(t.numel() for t in state.values()):  # before anything is allocated
            raise DataError("its tensors are smaller than its settings require")
        pair = build_fields(settings, grid, torch.Generator().manual_seed(0))
        if settings.inverse:
            codes = [name for name in state if "forward_field.codes." in name]
            state |= {SHARED_CODES + name.removeprefix("forward_field.codes."): state[name] for name in codes}
        pair.load_state_dict(state)
        return cls(pair.requires_grad_(False))


def least_size(settings: FieldSettings, grid: Grid) -> float:
    """Return a lower bound of the number of values stored for a pair of these settings."""
    extent = (grid.spacing * (torch.tensor(grid.shape, dtype=torch.int64) - 1)).tolist()
    codes, hidden = settings.global_codes + settings.local_codes, settings.hidden
    features = grid.dimension if settings.encoding == "coordinates" else 2 * settings.frequencies
    if settings.encoding in ("dense", "nested", "hash"):
        features = settings.channels * len(settings.spacings)
    size = float(hidden * (features + codes + hidden * (settings.layers - 1)))
    if settings.encoding in ("dense", "nested", "hash"):
        for spacing in settings.spacings:
            nodes = math.prod(max(1.0, length / spacing) for length in extent)
            size += settings.channels * (nodes if settings.encoding != "hash" else min(nodes, settings.table_size))
    if settings.local_codes:
        size += settings.local_codes * math.prod(max(1.0, length / settings.code_spacing) for length in extent)
    return size
