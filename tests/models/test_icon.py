"""ICON and GradICON: their losses by the published formulas, the order of steps, both directions, thinned images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid, interpolate_batch
from nephi.models import GradICONSettings, ICONSettings, PairNetwork, Steps, UNetSettings, build_model, downsampled
from nephi.models.displacement_unet import DisplacementNetwork
from nephi.objective import PairBatch, sample_points, training_terms
from nephi.settings import TrainingObjectiveSettings
from nephi.transforms import AffineMaps, DisplacementMaps, MapPair, Maps

Images = tuple[Tensor, Tensor]
UNET = UNetSettings((4, 8))
MODELS = (ICONSettings(unet=UNET), GradICONSettings((2, 1), UNET))
OBJECTIVE = TrainingObjectiveSettings(gradicon=0.0, codes=0.0, points=200, background_points=50, similarity="mse")


def random_model(settings: ICONSettings, grid: Grid) -> PairNetwork:
    """A model whose maps are far from the identity."""
    generator = torch.Generator().manual_seed(2)
    model = build_model(settings, grid, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return model


def cube(dimension: int, nodes: int = 17, edge: float = 128.0) -> Grid:
    """A box of equal edges, as the published networks see every image."""
    return Grid.from_spacing((nodes,) * dimension, (edge / (nodes - 1),) * dimension, (0.0,) * dimension)


@pytest.mark.parametrize("settings", MODELS, ids=lambda settings: settings.kind)
def test_icons_loss_equals_its_formula(settings: ICONSettings, dimension: int) -> None:
    """`sim + sim' + lambda (E_c|e|^2 + E_c|e'|^2)` in the unit box is twice this objective with lambda / (D L^2)."""
    grid, edge, penalty = cube(dimension, 9), 128.0, 70.0
    images = [torch.rand(2, 1, *grid.shape, generator=torch.Generator().manual_seed(k)) for k in (5, 6)]
    batch, maps = PairBatch(*images), random_model(settings, grid)(*images)
    assert maps.inverse is not None
    weights = replace(OBJECTIVE, icon=penalty / (dimension * edge**2))
    terms = training_terms(maps, batch, grid, weights, [torch.Generator().manual_seed(k) for k in range(2)])
    points = sample_points(batch, grid, weights, [torch.Generator().manual_seed(k) for k in range(2)]).background
    errors = [outer(inner(points)) / edge - points / edge for inner, outer in zip(maps[:2], maps[1::-1], strict=True)]
    published = penalty * sum(error.square().mean() for error in errors)
    torch.testing.assert_close(2 * terms["icon"], published, rtol=1e-4, atol=0)
    assert set(terms) == {"similarity", "icon"} and float(published.detach()) > 0.1


def test_icon_of_two_shifts(dimension: int) -> None:
    """`|a + b|^2`, the mean over both orders."""
    grid = cube(dimension, 5)
    shifts = torch.tensor([[3.0, -1.0, 2.0], [0.5, 2.0, -6.0]])[:, :dimension]
    maps = [AffineMaps(torch.eye(dimension)[None], shift[None]) for shift in shifts]
    image = torch.zeros(1, 1, *grid.shape)
    weights = replace(OBJECTIVE, icon=1.0)
    terms = training_terms(MapPair(*maps), PairBatch(image, image), grid, weights, [torch.Generator()])
    assert float(terms["icon"]) == pytest.approx(float(shifts.sum(dim=0).square().sum()), rel=1e-5)


def smooth_maps(grid: Grid, phase: float) -> DisplacementMaps:
    """Waves of a few mm, tabulated finely."""
    points = grid.voxel_centres().double() / 128
    waves = torch.stack(
        [torch.sin(5 * points.roll(k + 1, -1)[..., 0] + 3 * points[..., 0] + phase + k) for k in range(grid.dimension)]
    )
    return DisplacementMaps(4 * waves[None], grid)


def test_gradicon_agrees_with_the_published_finite_differences(dimension: int) -> None:
    """Forward differences of 0.001 of the box; a mean over components, so that the weight is lambda / (2 D)."""
    grid, step = cube(dimension, 65 if dimension == 2 else 33), 0.128
    maps: list[Maps] = [smooth_maps(grid, 0.0), smooth_maps(grid, 1.0)]
    image, penalty = torch.zeros(1, 1, *grid.shape), 1.5
    weights = replace(OBJECTIVE, gradicon=penalty / (2 * dimension), background_points=4000)
    batch = PairBatch(image, image)
    terms = training_terms(MapPair(*maps), batch, grid, weights, [torch.Generator().manual_seed(1)])
    points = sample_points(batch, grid, weights, [torch.Generator().manual_seed(1)]).background.double()

    def published(inner: Maps, outer: Maps) -> Tensor:
        def error(at: Tensor) -> Tensor:
            return outer(inner(at)) - at

        shifts = step * torch.eye(dimension, dtype=torch.float64)
        columns = [(error(points + shift) - error(points)) / step for shift in shifts]
        return penalty * torch.stack([column.square().mean() for column in columns]).sum()

    both_orders = (published(*maps) + published(*maps[::-1])) / 2
    assert 2 * float(terms["gradicon"]) == pytest.approx(float(both_orders), rel=0.01)
    assert float(both_orders) > 0.01


@pytest.mark.parametrize("settings", MODELS, ids=lambda settings: settings.kind)
def test_exchanged_images_exchange_the_maps(settings: ICONSettings, grid: Grid, images: Images) -> None:
    model, (fixed, moving) = random_model(settings, grid), images
    points = grid.voxel_centres().float().reshape(1, -1, grid.dimension)[:, ::7].expand(len(fixed), -1, -1)
    one, other = model(fixed, moving), model(moving, fixed)
    torch.testing.assert_close(one.forward(points), other.inverse(points), rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(one.inverse(points), other.forward(points), rtol=1e-5, atol=1e-3)
    assert not torch.allclose(one.forward(points), one.inverse(points), atol=0.1)


class Constant(PairNetwork):
    """The same affine map for all images; keeps the moving image that it gets."""

    def __init__(self, grid: Grid, scale: float, shift: float) -> None:
        super().__init__()
        self.grid, self.scale, self.shift = grid, scale, shift

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        self.moving = moving
        matrix = self.scale * torch.eye(self.grid.dimension)
        shift = torch.full((len(fixed), self.grid.dimension), self.shift)
        return MapPair(AffineMaps(matrix.expand(len(fixed), -1, -1), shift))


def test_a_later_step_acts_first(grid: Grid, images: Images) -> None:
    """`TwoStep(shift, scale)(x) = shift(scale(x))`, and the second network sees `A o shift`."""
    points = grid.voxel_centres().float().reshape(1, -1, grid.dimension)[:, ::5].expand(3, -1, -1)
    shift, scale = Constant(grid, 1.0, 3.0), Constant(grid, 2.0, 0.0)
    torch.testing.assert_close(Steps(grid, [shift, scale])(*images).forward(points), 2 * points + 3)
    torch.testing.assert_close(Steps(grid, [scale, shift])(*images).forward(points), 2 * (points + 3))
    Steps(grid, [shift, scale])(*images)
    centres = grid.voxel_centres().float().reshape(1, -1, grid.dimension).expand(3, -1, -1)
    shifted = interpolate_batch(images[1], grid, centres + 3).reshape(images[1].shape)
    torch.testing.assert_close(scale.moving, shifted, rtol=0, atol=1e-4)
    assert torch.equal(shift.moving, images[1])


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_constant_displacement_is_the_same_function_at_every_resolution(factor: int, grid: Grid) -> None:
    """In mm, and by the same weights: the unit of the network's output is a part of the box."""
    network = DisplacementNetwork(UNET, downsampled(grid, factor), torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.unet.last.bias.fill_(1.0)
    images = [torch.rand(1, 1, *network.grid.shape) for _ in range(2)]
    points = grid.voxel_centres().float().reshape(1, -1, grid.dimension)
    edges = grid.affine[:-1, :-1].float() @ (torch.tensor(grid.shape, dtype=torch.float32) - 1)
    torch.testing.assert_close(network(*images).forward(points), points + edges / 10, rtol=0, atol=1e-3)


def test_averaged_images_show_a_ramp_unshifted(grid: Grid) -> None:
    """A step with a coarser grid gets images whose values belong to its voxel centres."""
    direction = torch.tensor([0.02, -0.01, 0.03])[: grid.dimension]
    ramp = (grid.voxel_centres().float() @ direction)[None, None]
    seen = Constant(downsampled(grid, 2), 1.0, 0.0)
    Steps(grid, [seen])(ramp, ramp)
    inner = (0, 0, *(slice(2, -2),) * grid.dimension)
    expected = (seen.grid.voxel_centres().float() @ direction)[None, None]
    torch.testing.assert_close(seen.moving[inner], expected[inner], rtol=0, atol=1e-5)


def test_steps_that_are_not_steps_are_refused() -> None:
    for downsampling in ((), (0,), (1, -2), (1,) * 17):
        with pytest.raises(UsageError, match=r"^model\.downsampling: expected a positive integer for each step"):
            GradICONSettings(downsampling)
