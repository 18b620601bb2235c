"""Every kind of step: its interface, its part of a file, its conjugate in another world, its inverse."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.fields import (
    STEPS,
    UNFIT,
    AffineStep,
    AttentionStep,
    DisplacementStep,
    FieldSettings,
    FieldStep,
    SplineStep,
    Step,
    VelocityStep,
    build_fields,
    conjugate_steps,
    step_of,
)
from nephi.fields.steps import pop_tensor, read_step, step_table
from nephi.geometry import Grid
from nephi.transforms import (
    AffineTransform,
    Composite,
    ContinuedDisplacement,
    CoordinateAttention,
    DisplacementField,
    StationaryVelocity,
    spline_fit,
)

from ..fuzz.seeds import version_3_steps

SHAPE, MATRIX = (7, 6, 8), [[3.0, 0.4, 0.2], [-0.5, 4.0, 0.3], [0.1, -0.2, 5.0]]


def box(dimension: int) -> Grid:
    """A small oblique anisotropic grid, away from the origin."""
    affine = torch.eye(dimension + 1, dtype=torch.float64)
    affine[:-1, :-1] = torch.tensor(MATRIX, dtype=torch.float64)[:dimension, :dimension]
    affine[:-1, -1] = torch.tensor([30.0, -20.0, 55.0], dtype=torch.float64)[:dimension]
    return Grid(SHAPE[:dimension], affine)


def vectors(dimension: int, size: float) -> Tensor:
    """Smooth vectors at the voxels of `box`, without folds."""
    points = box(dimension).voxel_centres().double()
    return (size * torch.sin(points.flip(-1) / 9 + torch.arange(dimension))).float()


def affine(dimension: int) -> AffineTransform:
    matrix = torch.eye(dimension + 1, dtype=torch.float64)
    matrix[:-1] += 0.2 * torch.rand(dimension, dimension + 1, generator=torch.Generator().manual_seed(3)).double()
    return AffineTransform(matrix)


def fields(dimension: int) -> FieldStep:
    generator = torch.Generator().manual_seed(1)
    settings = FieldSettings(spacings=(20.0, 9.0), hidden=6, channels=2, amplitude=0.5, global_codes=2)
    pair = build_fields(settings, box(dimension), generator)
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
    pair.round_tables()
    return FieldStep(pair.requires_grad_(False))


def spline(dimension: int) -> SplineStep:
    corners = box(dimension).corners_world()
    points = torch.cat([corners, corners[:4].lerp(corners[:1], 0.4) + 1])
    moving = points + 2 * torch.sin(points.flip(-1) / 9)
    return SplineStep(spline_fit(points[None], moving[None], 0.1, 20.0).one(0))


def attention(dimension: int) -> CoordinateAttention:
    """Weights exp(-|v - w|^2 / 2) of keys at voxels w, for points at voxels v: the mean of displaced keys around v."""
    voxels = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float32) for n in SHAPE[:dimension]])
    keys = torch.cat([voxels, -0.5 * voxels.square().sum(dim=-1, keepdim=True)], dim=-1)
    features = torch.cat([voxels, torch.ones_like(voxels[:, :1])], dim=-1).reshape(*SHAPE[:dimension], -1)
    positions = (box(dimension).voxel_centres() + vectors(dimension, 2.0)).reshape(-1, dimension).double()
    last = torch.tensor(SHAPE[:dimension], dtype=torch.float64) - 1
    return CoordinateAttention(features, box(dimension), keys, positions, torch.stack([0.2 * last, 0.9 * last]))


# One row for each kind.
MADE: dict[str, Callable[[int], Step]] = {
    "fields": fields,
    "displacement": lambda d: DisplacementStep(ContinuedDisplacement(vectors(d, 1.0), box(d))),
    "affine": lambda d: AffineStep(affine(d)),
    "spline": spline,
    "attention": lambda d: AttentionStep(attention(d)),
    "velocity": lambda d: VelocityStep(StationaryVelocity(vectors(d, 3.0), box(d))),
}


@pytest.fixture(params=MADE)
def step(request: pytest.FixtureRequest, dimension: int) -> Step:
    return MADE[request.param](dimension)


@pytest.fixture
def points(dimension: int) -> Tensor:
    """Random points in and around the box."""
    unit = torch.rand(60, dimension, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return box(dimension).voxel_to_world_points((1.4 * unit - 0.2) * torch.tensor(SHAPE[:dimension]))


def test_every_kind_has_a_row() -> None:
    assert set(MADE) == set(STEPS)
    assert {step.kind: step for step in STEPS.values()} == STEPS


def test_an_attention_keeps_how_it_continues(dimension: int, points: Tensor) -> None:
    made = attention(dimension)
    parts = (made.features, made.grid, made.keys, made.positions, made.bounds)
    step = AttentionStep(CoordinateAttention(*parts, 2 * torch.eye(dimension, dtype=torch.float64)))
    read = AttentionStep.read(step.table(), dict(step.tensors()))
    torch.testing.assert_close(read.forward(points), step.forward(points))
    assert (AttentionStep(made).file_version, step.file_version) == (3, 5)  # readers before would ignore it
    assert "continuation" in step.table() and "continuation" not in AttentionStep(made).table()


def test_every_kind_has_a_seed_for_the_fuzzer() -> None:
    """Those of files of versions 1 and 2 are in seeds of their own."""
    assert {step.kind for step in version_3_steps()} == {kind for kind, step in STEPS.items() if step.version > 2}


def test_the_interface(step: Step, dimension: int) -> None:
    assert step.dimension == step.forward.dimension == dimension
    assert type(step.forward) is step.transform and type(step) is STEPS[step.kind]
    assert step.grid is None or step.grid.same_as(box(dimension))
    assert step.parameters > 0 and step.is_finite()


def test_a_transform_becomes_its_step(step: Step, points: Tensor) -> None:
    found = step_of(step.forward)
    assert type(found) is type(step)
    assert torch.equal(found.forward(points), step.forward(points))


def test_a_transform_without_a_step_is_refused(dimension: int) -> None:
    with pytest.raises(TypeError, match=r"expected one of NeuralField, .*, or compositions of these, got Displacement"):
        step_of(DisplacementField(vectors(dimension, 1.0), box(dimension)))


def test_its_part_of_a_file(step: Step, points: Tensor) -> None:
    table, tensors = json.loads(json.dumps(step_table(step))), step.tensors()
    assert ("kind" in table) == (step.kind not in ("fields", "displacement"))  # as in version 2
    back = read_step(table, {name: tensor.clone() for name, tensor in tensors.items()})
    assert type(back) is type(step) and back.parameters == step.parameters
    assert torch.equal(back.forward(points), step.forward(points))
    assert json.loads(json.dumps(step_table(back))) == table
    for name, tensor in back.tensors().items():
        assert tensor.dtype == tensors[name].dtype and torch.equal(tensor, tensors[name])


def test_damaged_parts_of_a_file(step: Step) -> None:
    table, tensors = step_table(step), step.tensors()
    for name, tensor in tensors.items():
        for damaged in (None, tensor[..., :-1], tensor.reshape(-1)[:1], tensor[None].repeat(2, *[1] * tensor.ndim)):
            changed = {key: value.clone() for key, value in tensors.items() if key != name}
            if damaged is not None:
                if damaged.shape == tensor.shape:
                    continue
                changed[name] = damaged.clone()
            with pytest.raises(UNFIT):
                read_step(table, changed)
    with pytest.raises(DataError, match="Unexpected key"):
        read_step(step_table(MADE["affine"](2)), {**MADE["affine"](2).tensors(), "more": torch.zeros(1)})
    for key in table.keys() - {"kind"}:
        with pytest.raises(UNFIT):
            read_step({**table, key: {"shape": [2, 2]}}, {name: tensor.clone() for name, tensor in tensors.items()})


def test_values_of_a_file() -> None:
    tensors = {"a": torch.zeros(2, 3), "b": torch.zeros(2, 3, dtype=torch.float64), "c": torch.zeros(3)}
    assert pop_tensor(tensors, "a", (None, 3)).shape == (2, 3) and "a" not in tensors
    for name, found in (("b", r"torch\.float64 of \(2, 3\)"), ("c", r"torch\.float32 of \(3,\)")):
        with pytest.raises(DataError, match=rf"{name}: expected float32 values of shape \(2, any\), found {found}"):
            pop_tensor(tensors, name, (2, None))


def test_it_is_the_same_map_in_another_world(step: Step, points: Tensor, dimension: int) -> None:
    for to_world in (affine(dimension), AffineTransform.translation(torch.tensor([80.0, -9.0, 3.0])[:dimension])):
        moved = Composite([each.forward for each in conjugate_steps([step], to_world)])
        expected = to_world(step.forward(points))
        torch.testing.assert_close(moved(to_world(points)), expected, rtol=0, atol=2e-4)
        back = conjugate_steps(conjugate_steps([step], to_world), to_world.inverse())
        assert [type(each) for each in back] == [type(step)]


def test_the_inverse_is_solved_to_the_tolerance(step: Step, points: Tensor) -> None:
    for tolerance in (1e-2, 1e-5):
        inverse = step.inverse(tolerance)
        assert float((step.forward(inverse(points)) - points).norm(dim=-1).max()) <= max(tolerance, 1e-5)
    if step.unrefined_inverse is not None:
        assert float((step.unrefined_inverse(step.forward(points)) - points).norm(dim=-1).mean()) < 1.0


@pytest.mark.parametrize("kind", ["fields", "displacement", "velocity"])
def test_values_that_are_not_finite(kind: str) -> None:
    """They are found where a step is made, or by `is_finite`."""
    if kind == "fields":
        step = fields(2)
        next(step.pair.parameters()).view(-1)[0] = torch.nan
        assert not step.is_finite()
        return
    values = vectors(2, 1.0)
    values[1, 1, 0] = torch.inf
    with pytest.raises(DataError, match="NaN or infinite"):
        STEPS[kind].transform(values, box(2))  # type: ignore[call-arg]
