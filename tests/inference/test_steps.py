"""Predicted maps of every kind as steps of a stored transform: the same points, in both directions and after a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from nephi.fields import (
    AffineStep,
    AttentionStep,
    DisplacementStep,
    FieldPair,
    FieldStep,
    LatentBatch,
    SplineStep,
    StoredTransform,
    VelocityStep,
    build_fields,
    field_maps,
    latent_grids,
    nephi_bytes,
    read_nephi,
)
from nephi.geometry import Grid, identity_like
from nephi.inference.steps import predicted_steps
from nephi.models import ModelInput, world_transform
from nephi.transforms import (
    AffineMaps,
    AttentionMaps,
    ComposedMaps,
    DisplacementMaps,
    MapPair,
    Maps,
    SingleMap,
    Transform,
    VelocityMaps,
    spline_fit,
)

from ..models.predictions import DENSE

SHAPE, SPACING = (14, 12, 10), (4.0, 5.0, 6.0)


def box(dimension: int) -> Grid:
    first = [-0.5 * (n - 1) * s for n, s in zip(SHAPE[:dimension], SPACING[:dimension], strict=True)]
    return Grid.from_spacing(SHAPE[:dimension], SPACING[:dimension], first)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 0.5


def fields(dimension: int, seed: int = 0) -> MapPair:
    """Neural fields with latent values of one pair; phi and the unrefined inverse differ from the identity."""
    generator = torch.Generator().manual_seed(seed)
    pair: FieldPair = build_fields(DENSE, box(dimension), generator)
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    tables = [grids.table[None].half().float() for grids in latent_grids(pair)]
    return field_maps(pair, LatentBatch(torch.zeros(1, 0), tables))


def displacement(dimension: int, seed: int) -> Maps:
    grid = box(dimension)
    return DisplacementMaps(3 * rand(1, dimension, *grid.shape, seed=seed), grid)


def velocity(dimension: int, seed: int) -> VelocityMaps:
    shape = tuple(n // 3 for n in SHAPE[:dimension])
    grid = box(dimension)
    coarse = Grid(shape, grid.affine @ torch.diag(torch.tensor([3.0] * dimension + [1.0], dtype=torch.float64)))
    return VelocityMaps(8 * rand(1, dimension, *shape, seed=seed), coarse)


def attention(dimension: int, seed: int) -> AttentionMaps:
    grid = box(dimension)
    features, keys = (6 * rand(1, 3, *grid.shape, seed=seed + k) for k in range(2))
    continuation = torch.eye(dimension, dtype=torch.float64) + 0.3 * rand(1, dimension, dimension, seed=seed).double()
    return AttentionMaps(features, grid, keys, grid, rand(1, *grid.shape, seed=seed) > 0, None, continuation)


def affine(dimension: int, seed: int = 3) -> AffineMaps:
    matrix = torch.eye(dimension)[None] + 0.1 * rand(1, dimension, dimension, seed=seed)
    return AffineMaps(matrix, 4 * rand(1, dimension, seed=seed + 1))


def splines(dimension: int) -> MapPair:
    """Splines of both directions, which are only approximately each other's inverses."""
    fixed = box(dimension).corners_world()[None]
    fixed = torch.cat([fixed, 0.5 * fixed[:, :3] + 2], dim=1)
    moving = fixed + 5 * rand(*fixed.shape, seed=6)
    return MapPair(spline_fit(fixed, moving, 0.1, 30.0), spline_fit(moving, fixed, 0.1, 30.0))


def inverse_of(maps: AffineMaps) -> AffineMaps:
    matrices = maps.matrices.inverse()
    return AffineMaps(matrices, -(matrices @ maps.translations.unsqueeze(-1)).squeeze(-1))


def predictions(dimension: int) -> dict[str, MapPair]:
    """Return predictions by the kinds of their maps: first phi, then the inverse."""
    field, other = fields(dimension), fields(dimension, seed=8)
    assert field.inverse is not None and other.inverse is not None
    one, two, rigid = displacement(dimension, 1), displacement(dimension, 2), affine(dimension)
    flow, root = velocity(dimension, 4), velocity(dimension, 5)
    return {
        "fields": field,
        "composed fields": MapPair(
            ComposedMaps([field.forward, other.forward]), ComposedMaps([other.inverse, field.inverse])
        ),
        "fields swapped": MapPair(field.forward, other.forward),
        "displacement": MapPair(one),
        "displacement both": MapPair(one, two),
        "affine": MapPair(rigid, inverse_of(rigid)),
        "affine last": MapPair(ComposedMaps([field.forward, rigid]), ComposedMaps([inverse_of(rigid), field.inverse])),
        "affine first": MapPair(ComposedMaps([rigid, one, ComposedMaps([two])])),
        "velocity": MapPair(flow, flow.inverse()),
        "consistent": MapPair(
            ComposedMaps([root, ComposedMaps([rigid, flow]), root]),
            ComposedMaps([root.inverse(), ComposedMaps([flow.inverse(), inverse_of(rigid)]), root.inverse()]),
        ),
        "displacement, attention": MapPair(
            ComposedMaps([one, attention(dimension, 6)]), ComposedMaps([two, attention(dimension, 9)])
        ),
        "spline": splines(dimension),
        "affine swapped": MapPair(ComposedMaps([one, rigid]), ComposedMaps([two, affine(dimension, 5)])),
    }


def inputs(dimension: int, scaled: bool) -> list[ModelInput]:
    centres = torch.tensor([[120.0, -80.0, 45.0], [-30.0, 15.0, 400.0]], dtype=torch.float64)[:, :dimension]
    scales = torch.tensor([[1.5, 0.8, 1.1], [1.3, 0.9, 1.2]], dtype=torch.float64)[:, :dimension]
    result = []
    for centre, scale in zip(centres, scales, strict=True):
        matrix = torch.eye(dimension + 1, dtype=torch.float64)
        matrix[:-1, -1] = centre
        if scaled:
            matrix[:-1, :-1] = torch.diag(scale)
        result.append(ModelInput(torch.zeros(1, *box(dimension).shape), None, matrix))
    return result


def stored(prediction: MapPair, fixed: ModelInput, moving: ModelInput, dimension: int) -> StoredTransform:
    steps = predicted_steps(prediction, fixed, moving)
    return StoredTransform(steps.affine, box(dimension), box(dimension), steps.steps, inverse_steps=steps.inverse_steps)


def assert_equal_maps(found: Transform, maps: Maps, fixed: ModelInput, moving: ModelInput, dimension: int) -> None:
    """Compare a transform with maps of the box between two worlds, at points inside and around the box."""
    grid = box(dimension).transformed(fixed.to_world)
    points = grid.voxel_to_world_points(1.4 * (torch.tensor(grid.shape) - 1) * (rand(200, dimension).double() + 0.5))
    expected = world_transform(lambda x: maps(x[None])[0].detach(), fixed, moving)(points)
    torch.testing.assert_close(found(points), expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("name", predictions(2))
def test_steps_are_the_prediction_between_the_worlds(name: str, scaled: bool, dimension: int, tmp_path: Path) -> None:
    prediction, (fixed, moving) = predictions(dimension)[name], inputs(dimension, scaled)
    transform = stored(prediction, fixed, moving, dimension)
    assert_equal_maps(transform.transform, prediction.forward, fixed, moving, dimension)
    if prediction.inverse is None:
        assert transform.unrefined_inverse is None
    elif transform.unrefined_inverse is not None:
        assert_equal_maps(transform.unrefined_inverse, prediction.inverse, moving, fixed, dimension)
    else:
        assert not transform.steps  # affine: its inverse is exact
        assert_equal_maps(transform.inverse, prediction.inverse, moving, fixed, dimension)
    points = transform.fixed_grid.transformed(fixed.to_world).voxel_centres().double().reshape(-1, dimension)
    if "displacement" not in name and name not in ("affine first", "affine swapped"):  # random displacements fold
        assert float((transform.transform(transform.inverse(points)) - points).norm(dim=-1).max()) < 2e-3
    path = tmp_path / "a.nephi"
    path.write_bytes(nephi_bytes(transform))
    read = read_nephi(path)
    assert torch.equal(read.transform(points), transform.transform(points))
    assert nephi_bytes(read) == path.read_bytes()
    if transform.unrefined_inverse is not None and read.unrefined_inverse is not None:
        assert torch.equal(read.unrefined_inverse(points), transform.unrefined_inverse(points))


def kinds(steps: tuple[object, ...]) -> list[type]:
    return [type(step) for step in steps]


def test_as_few_steps_as_possible(dimension: int) -> None:
    for scaled in (False, True):
        fixed, moving = inputs(dimension, scaled)
        around = [AffineStep] if scaled else []
        expected: dict[str, tuple[list[type], list[type]]] = {
            "fields": ([*around, FieldStep, *around], []),
            "composed fields": ([*around, FieldStep, FieldStep, *around], []),
            "fields swapped": ([*around, FieldStep, *around], [*around, FieldStep, *around]),
            "displacement": ([DisplacementStep], []),
            "displacement both": ([DisplacementStep], [DisplacementStep]),
            "affine": ([], []),
            "affine last": ([*around, FieldStep, *around], []),
            "affine first": ([AffineStep, DisplacementStep, DisplacementStep], []),
            "velocity": ([VelocityStep], []),
            "consistent": ([VelocityStep, AffineStep, VelocityStep, VelocityStep], []),
            "displacement, attention": ([DisplacementStep, AttentionStep], [DisplacementStep, AttentionStep]),
            "spline": ([*around, SplineStep, *around], [*around, SplineStep, *around]),
            "affine swapped": ([DisplacementStep], [AffineStep, DisplacementStep, AffineStep]),
        }
        for name, prediction in predictions(dimension).items():
            steps = predicted_steps(prediction, fixed, moving)
            assert (kinds(steps.steps), kinds(steps.inverse_steps)) == expected[name], name


def test_the_affine_part_aligns_the_images(dimension: int) -> None:
    """It maps fixed to moving points by itself, also where the fields stay in the model's box."""
    fixed, moving = inputs(dimension, scaled=True)
    steps = predicted_steps(fields(dimension), fixed, moving)
    centre = torch.zeros(1, dimension, dtype=torch.float64) + fixed.to_world[:-1, -1]
    torch.testing.assert_close(steps.affine(centre)[0], moving.to_world[:-1, -1])


def test_maps_without_a_kind_of_step_are_refused(dimension: int) -> None:
    class Wave(Transform):
        dimension = 2

        def __call__(self, points: Tensor) -> Tensor:
            return points

        def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
            return points, identity_like(points).expand(*points.shape, -1)

    with pytest.raises(TypeError, match="or compositions of these, got Wave"):
        predicted_steps(MapPair(SingleMap(Wave())), *inputs(dimension, scaled=False))
