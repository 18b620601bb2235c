"""The shortened schedule of a refinement, and predictions of any kind as fields."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nephi.fields import AffineStep, DisplacementStep, Step, StoredTransform, VelocityStep
from nephi.geometry import Grid
from nephi.images import Image
from nephi.inference import Refinement, predict, refinement_schedule
from nephi.inference.refinement import as_single_field
from nephi.settings import preset
from nephi.transforms import AffineMaps, AffineTransform, ContinuedDisplacement, MapPair, StationaryVelocity

from ..fields.test_steps import MADE
from ..models.predictions import model, pair
from ..models.predictions import scene as scene_values


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 100, 290, 1000])
@pytest.mark.parametrize("name", ["lung-ct", "generic", "idir"])
def test_steps_in_all_of_the_last_levels(name: str, steps: int) -> None:
    settings = preset(name)
    found = refinement_schedule(settings, Refinement(steps))
    assert sum(level.steps for level in found.levels) == steps
    last = settings.levels[-len(found.levels) :]
    for level, other in zip(found.levels, last, strict=True):
        assert replace(level, steps=other.steps) == other
    assert len(found.levels) == min(2, len(settings.levels)) or steps < 3
    assert settings.optimization.rate <= found.optimization.rate <= 2 * settings.optimization.rate
    assert replace(found, levels=settings.levels, optimization=settings.optimization) == settings


def test_fewer_steps_are_larger() -> None:
    settings = preset("lung-ct")
    rates = [
        refinement_schedule(settings, Refinement(steps)).optimization.rate / settings.optimization.rate
        for steps in (20, 100, 200, 290, 400)
    ]
    assert rates[0] == 2.0 and rates[3:] == [1.0, 1.0]
    assert rates[0] > rates[1] > rates[2] > rates[3]


def test_sine_networks_take_small_steps() -> None:
    settings = preset("generic")
    sines = replace(settings, field=replace(settings.field, decoder="gated-sine"))
    assert refinement_schedule(sines, Refinement(50)).optimization.rate == 5e-4
    assert (
        refinement_schedule(sines, Refinement(50, "codes")).optimization.rate
        == refinement_schedule(settings, Refinement(50)).optimization.rate
        > 1e-2
    )


def turned(dimension: int, degrees: float) -> AffineTransform:
    """A rotation in the plane of the first two axes, about a point away from the origin."""
    angle = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    matrix = torch.eye(dimension + 1, dtype=torch.float64)
    matrix[0, 0], matrix[0, 1], matrix[1, 0], matrix[1, 1] = angle.cos(), -angle.sin(), angle.sin(), angle.cos()
    centre = torch.tensor([40.0, -70.0, 25.0], dtype=torch.float64)[:dimension]
    matrix[:-1, -1] = centre - matrix[:-1, :-1] @ centre
    return AffineTransform(matrix)


def scene(dimension: int) -> tuple[Grid, list[Step]]:
    """The grid of a fixed image, and a smooth deformation: a displacement, then a flow, on grids of their own boxes."""
    first = (0.0, -110.0, -15.0)[:dimension]
    grid = Grid.from_spacing((41, 37, 29)[:dimension], (2.0, 2.5, 3.0)[:dimension], first)
    small = Grid.from_spacing((9, 8, 7)[:dimension], (6.0, 7.0, 8.0)[:dimension], [value + 12 for value in first])
    points = small.voxel_centres()
    vectors = 2 * torch.sin(points.flip(-1) / 20)
    return grid, [
        DisplacementStep(ContinuedDisplacement(vectors, small)),
        VelocityStep(StationaryVelocity(-vectors, small)),
    ]


@pytest.mark.parametrize("degrees", [0.0, 90.0, 180.0])
def test_affine_parts_stay_outside_of_the_fields(dimension: int, degrees: float) -> None:
    """Rotations by any angle: at the end, as the root of a consistent chain, or within a step."""
    grid, (displacement, flow) = scene(dimension)
    root, whole = AffineStep(turned(dimension, degrees / 2)), turned(dimension, degrees)
    settings = preset("generic").field
    generator = torch.Generator().manual_seed(0)
    points = grid.voxel_to_world_points(
        torch.rand(200, dimension, generator=generator, dtype=torch.float64) * (torch.tensor(grid.shape) - 1)
    )
    identity = AffineTransform.identity(dimension)
    chains: dict[str, StoredTransform] = {
        "affine alone": StoredTransform(whole, grid, grid),
        "affine last": StoredTransform(whole, grid, grid, (flow,)),
        "consistent": StoredTransform(root.affine, grid, grid, (root, displacement)),
        "no affine": StoredTransform(identity, grid, grid, (AffineStep(whole), displacement, flow)),
    }
    for name, chain in chains.items():
        single = as_single_field(chain, grid, settings, generator)
        assert [step.kind for step in single.steps] == ["fields"], name
        fields = single.steps[0].forward(points).detach()
        assert float((fields - points).norm(dim=-1).max()) < 12, name  # what is not affine
        # Linear interpolation between nodes; tables in half precision.
        torch.testing.assert_close(single.transform(points), chain.transform(points), rtol=0, atol=0.3)
        mapped = chain.transform(points)
        torch.testing.assert_close(single.unrefined_inverse(mapped), points, rtol=0, atol=0.3)
        assert float((single.affine.matrix - whole.matrix)[:-1, :-1].abs().max()) < 0.1, name


@pytest.mark.parametrize("kind", MADE)
def test_a_single_step_of_any_kind_becomes_fields(kind: str, dimension: int) -> None:
    step = MADE[kind](dimension)
    grid = Grid.from_spacing((20, 18, 16)[:dimension], (2.0, 2.5, 3.0)[:dimension], (25.0, -25.0, 50.0)[:dimension])
    chain = StoredTransform(turned(dimension, 90), grid, grid, (step,))
    single = as_single_field(chain, grid, preset("generic").field, torch.Generator())
    points = grid.voxel_centres().double().reshape(-1, dimension)[::7]
    gap = (single.transform(points).detach() - chain.transform(points).detach()).norm(dim=-1)
    assert float(gap.mean()) < 0.3


@pytest.mark.parametrize("degrees", [90.0, 180.0])
def test_a_predicted_rotation_is_refined(dimension: int, degrees: float) -> None:
    """The images differ by a rotation, which is predicted, and a bend of 2 mm, which is fitted."""
    stored, linear = model("unet", dimension), turned(dimension, degrees).matrix[:-1, :-1]
    matrices, shift = linear.float()[None], torch.zeros(1, dimension, dtype=torch.float32)
    prediction = MapPair(AffineMaps(matrices, shift), AffineMaps(matrices.transpose(1, 2), shift))
    stored.model.forward = lambda *images: prediction  # type: ignore[method-assign]
    fixed, _ = pair(dimension)
    centre = fixed.grid.centre_world()

    def unbent(points: Tensor) -> Tensor:
        """Return the fixed points of moving points."""
        local = (points.double() - centre) @ linear
        return centre + local + 2 * torch.sin(local.flip(-1) / 15)

    moving = Image(scene_values(unbent(fixed.grid.voxel_centres()) - centre), fixed.grid, name="moving")
    still = Image(scene_values(fixed.grid.voxel_centres() - centre), fixed.grid, name="fixed")
    points = centre + 30 * (torch.rand(300, dimension, generator=torch.Generator().manual_seed(0)).double() - 0.5)
    errors = []
    for steps in (0, 80):
        result = predict(still, moving, model=stored, refinement=Refinement(steps), device="cpu")
        errors.append(float((unbent(result.transform(points)) - points).norm(dim=-1).mean()))
        torch.testing.assert_close(result.stored.affine.matrix[:-1, :-1], linear, rtol=0, atol=1e-5)
    assert errors[0] > 1.0 and errors[1] < 0.6 * errors[0], errors
