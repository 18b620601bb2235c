"""Small models that predict something, untrained, and images to show them."""

from __future__ import annotations

from dataclasses import asdict, replace

import torch

from nephi.fields import FieldSettings
from nephi.geometry import Grid
from nephi.images import Image
from nephi.models import (
    AutoDecoderSettings,
    DisplacementUNetSettings,
    EncoderSettings,
    GradICONSettings,
    InputSettings,
    ModelSettings,
    NephiSettings,
    StoredModel,
    UNetSettings,
    build_model,
    input_grid,
)
from nephi.settings import TrainingObjectiveSettings

DENSE = FieldSettings(spacings=(24.0, 12.0), channels=4, hidden=8, amplitude=4.0)
CODED = replace(DENSE, encoding="coordinates", decoder="gated-sine", layers=2, global_codes=3, local_codes=4)
ENCODER = EncoderSettings((4, 8, 8), 2, 8)
ARCHITECTURES: dict[str, ModelSettings] = {
    "dense": NephiSettings(field=DENSE, encoder=ENCODER),
    "coded": NephiSettings(field=replace(CODED, code_spacing=15.0), encoder=ENCODER),
    "steps": NephiSettings((2, 1), DENSE, replace(ENCODER, forces=True)),
    "auto": AutoDecoderSettings(pairs=2, field=DENSE),
    "unet": DisplacementUNetSettings((4, 4, 8)),
    "velocity": DisplacementUNetSettings((4, 4, 8), transform="velocity"),
    "gradicon": GradICONSettings((2, 1), UNetSettings((4, 4, 8))),
}


def model(name: str, dimension: int, **changes: object) -> StoredModel:
    """A model with its last layers away from zero: it moves points by millimetres, and without folds."""
    shape, spacing = (24, 20, 18)[:dimension], (3.0, 4.0, 3.5)[:dimension]
    settings = replace(InputSettings(shape, spacing), **changes)
    generator = torch.Generator().manual_seed(5)
    untrained = build_model(ARCHITECTURES[name], input_grid(settings), generator)
    last = [p for n, p in untrained.named_parameters() if ".last." in n]
    with torch.no_grad():
        for parameter in last:
            spread = 0.4 if "field" in asdict(ARCHITECTURES[name]) else 0.03
            parameter += spread * torch.randn(parameter.shape, generator=generator)
    return StoredModel(untrained, settings, TrainingObjectiveSettings(), {"seed": 5})


def scene(points: torch.Tensor) -> torch.Tensor:
    """A smooth world of values from 0 to 1000 at points `(..., D)`, mm, with a dark rim."""
    waves = sum(torch.sin(0.11 * (k + 1) * points[..., k] + k) for k in range(points.shape[-1]))
    return 500 * (1 + waves / points.shape[-1]) * torch.exp(-((points.norm(dim=-1) / 34) ** 4)) + 1


def picture(grid: Grid, centre: torch.Tensor, bend: float, name: str) -> Image:
    """The world around `centre`, bent a little, as voxels of a grid."""
    points = grid.voxel_centres().double() - centre
    points = points + bend * torch.sin(points.flip(-1) / 15)
    return Image(scene(points).float(), grid, name=name)


def grid_around(centre: torch.Tensor, linear: torch.Tensor, shape: tuple[int, ...]) -> Grid:
    """A grid with these voxel axes (mm) whose middle is at `centre`."""
    affine = torch.eye(len(shape) + 1, dtype=torch.float64)
    affine[:-1, :-1] = linear
    affine[:-1, -1] = centre - linear @ ((torch.tensor(shape, dtype=torch.float64) - 1) / 2)
    return Grid(shape, affine)


def pair(dimension: int) -> tuple[Image, Image]:
    """Two pictures of one world, far from the origin and from each other, on different grids."""
    centres = torch.tensor([120.0, -80.0, 45.0])[:dimension].double(), torch.tensor([-30.0, 15.0, 400.0])[:dimension]
    shapes = (30, 28, 26)[:dimension], (33, 27, 24)[:dimension]
    spacings = (2.6, 2.8, 3.0)[:dimension], (2.5, 3.0, 3.0)[:dimension]
    grids = [
        grid_around(centre.double(), torch.diag(torch.tensor(spacing).double()), shape)
        for centre, shape, spacing in zip(centres, shapes, spacings, strict=True)
    ]
    images = [
        picture(grid, centre, bend, name)
        for grid, centre, bend, name in zip(grids, centres, (0.0, 2.0), ("fixed", "moving"), strict=True)
    ]
    return images[0], images[1]
