"""Training losses: lookups, closed forms of their terms, and that a step lowers them."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nephi.fields import FieldSettings
from nephi.geometry import Grid, interpolate_batch
from nephi.models import (
    EncoderSettings,
    NephiModel,
    NephiSettings,
    PairBatch,
    Steps,
    UNetSettings,
    build_model,
    dense_jacobian,
)
from nephi.models.composition import averaged
from nephi.models.nephi import FieldNetwork
from nephi.settings import TrainingObjectiveSettings
from nephi.transforms import ComposedMaps, DisplacementMaps

ENCODER = EncoderSettings(filters=(4, 8, 8), features=16)
Images = tuple[Tensor, Tensor]


def generator(seed: int = 2) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def generators(count: int = 3) -> list[torch.Generator]:
    return [generator(k) for k in range(count)]


def coarser(grid: Grid) -> Grid:
    """Every second voxel of the same box."""
    shape = tuple((n + 1) // 2 for n in grid.shape)
    affine = grid.affine.clone()
    affine[:-1, :-1] *= (torch.tensor(grid.shape) - 1) / (torch.tensor(shape) - 1)
    return Grid(shape, affine)


def steps(settings: FieldSettings, *grids: Grid) -> Steps:
    """Networks whose last layers are away from zero, as if they were trained."""
    architecture = NephiSettings(field=settings, encoder=ENCODER)
    networks = [NephiModel(architecture, grid, generator(k)).network.steps[0] for k, grid in enumerate(grids)]
    for network in networks:
        assert isinstance(network, FieldNetwork)
        for field in (network.fields.forward_field, network.fields.inverse_field):
            with torch.no_grad():
                weight = field.decoder.last.weight
                weight.copy_(0.03 * torch.randn(weight.shape, generator=generator()))
    return Steps(grids[-1], networks)


def test_dense_jacobian_of_a_linear_map(grid: Grid) -> None:
    d = grid.dimension
    matrix = torch.eye(d) + 0.2 * torch.randn(d, d, generator=generator())
    points = grid.voxel_centres().float()
    displacement = (points @ matrix.T - points).movedim(-1, 0)[None]
    found = dense_jacobian(displacement, grid)
    assert found.shape == (1, torch.tensor(grid.shape).sub(1).prod(), d, d)
    torch.testing.assert_close(found, matrix.expand_as(found), rtol=1e-3, atol=1e-4)


def test_terms_of_the_identity(field_settings: FieldSettings, grid: Grid, images: Images) -> None:
    """Equal images that do not move: perfect correlation, perfect consistency."""
    model = build_model(NephiSettings(field=field_settings, encoder=ENCODER), grid, generator())
    settings = TrainingObjectiveSettings(points=100, background_points=10)
    terms = model.terms(PairBatch(images[0], images[0]), settings, generators())
    assert terms["similarity"].item() == pytest.approx(0, abs=0.05)
    assert terms["gradicon"].item() == pytest.approx(0, abs=1e-10)
    assert terms["codes"].item() > 0
    other = model.terms(PairBatch(*images), settings, generators())
    assert other["similarity"].item() == pytest.approx(1, abs=0.3)  # noise and noise


def test_gradicon_is_that_of_finite_differences(field_settings: FieldSettings, grid: Grid, images: Images) -> None:
    phi, psi, _ = steps(field_settings, coarser(grid), grid).double()(*(image.double() for image in images))
    points = grid.voxel_to_world_points(torch.tensor([[2.3, 3.4, 5.1], [7.7, 9.2, 2.6]])[:, : grid.dimension].double())
    points = points[None].expand(3, -1, -1)
    _, inner = phi.value_and_jacobian(points)
    _, outer = psi.value_and_jacobian(phi(points))
    step = 1e-5
    for j in range(grid.dimension):
        shift = step * torch.eye(grid.dimension, dtype=torch.float64)[j]
        slope = (psi(phi(points + shift)) - psi(phi(points - shift))) / (2 * step)
        torch.testing.assert_close((outer @ inner)[..., j], slope, rtol=1e-4, atol=1e-5)


def test_steps_are_a_chain_without_resampling(field_settings: FieldSettings, grid: Grid, images: Images) -> None:
    """The second network sees the warped image; phi is the second deformation and then the first."""
    fine, coarse = grid, coarser(grid)
    network = steps(field_settings, coarse, fine)
    phi, psi, _ = network(*images)
    first, second = network.steps
    at = coarse.voxel_centres().float().reshape(1, -1, grid.dimension).expand(3, -1, -1)
    thinned = [
        interpolate_batch(averaged(image, coarse, fine), fine, at).reshape(3, 1, *coarse.shape) for image in images
    ]
    one, one_back, _ = first(*thinned)
    centres = fine.voxel_centres().float().reshape(1, -1, grid.dimension).expand(3, -1, -1)
    mode = "bilinear" if grid.dimension == 2 else "trilinear"
    moved = (one(at) - at).transpose(1, 2).reshape(3, -1, *coarse.shape)
    moved = torch.nn.functional.interpolate(moved, size=fine.shape, mode=mode, align_corners=True)
    warped = interpolate_batch(images[1], fine, centres + moved.flatten(2).transpose(1, 2)).reshape(images[1].shape)
    two, two_back, _ = second(images[0], warped)
    torch.testing.assert_close(phi(centres), one(two(centres)), rtol=0, atol=1e-3)
    torch.testing.assert_close(psi(centres), two_back(one_back(centres)), rtol=0, atol=1e-3)
    torch.testing.assert_close(ComposedMaps([two, one])(centres), phi(centres), rtol=0, atol=1e-3)


def test_thinned_images_do_not_alias(dimension: int) -> None:
    """A checkerboard is grey from afar; a constant stays, at the border, too; what is not thinned is not blurred."""
    fine = Grid.from_spacing((16,) * dimension, (1.0,) * dimension, (0.0,) * dimension)
    coarse = Grid.from_spacing((8,) * dimension, (15 / 7,) * dimension, (0.0,) * dimension)
    board = fine.voxel_centres().sum(dim=-1).remainder(2).float()[None, None]
    inner = (0, 0, *(slice(1, -1),) * dimension)
    assert float((averaged(board, coarse, fine) - 0.5)[inner].abs().max()) < 0.06
    ones = torch.ones_like(board)
    torch.testing.assert_close(averaged(ones, coarse, fine), ones)
    assert torch.equal(averaged(board, fine, fine), board)


def test_each_axis_is_blurred_as_far_as_it_is_thinned() -> None:
    """The same as one box of unequal sides, which counts voxels inside only."""
    fine = Grid.from_spacing((9, 7, 12), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    coarse = Grid.from_spacing((5, 7, 3), (2.0, 1.0, 5.5), (0.0, 0.0, 0.0))
    image = torch.rand(2, 1, *fine.shape, generator=torch.Generator().manual_seed(0))
    box = torch.nn.functional.avg_pool3d(image, (3, 1, 5), 1, (1, 0, 2), count_include_pad=False)
    torch.testing.assert_close(averaged(image, coarse, fine), box)


def test_training_lowers_the_loss(field_settings: FieldSettings, grid: Grid) -> None:
    """A pair that differs by a shift: a few steps bring network and U-Net closer."""
    points = grid.voxel_centres().float()
    middle, size = grid.centre_world().float(), float(grid.spacing.mean() * min(grid.shape))
    fixed, moving = (
        torch.exp(-(((points - middle - shift) / (0.25 * size)) ** 2).sum(dim=-1))[None, None]
        for shift in (0.0, 0.1 * size)
    )
    models = (NephiSettings(field=replace(field_settings, amplitude=0.3), encoder=ENCODER), UNetSettings((4, 8, 8)))
    settings = TrainingObjectiveSettings(points=200, background_points=20, codes=0.0, diffusion=0.01)
    for architecture in models:
        network, drawn = build_model(architecture, grid, generator()), generators(1)
        optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 3e-3)
        losses = []
        for _ in range(40):
            loss = torch.stack(list(network.terms(PairBatch(fixed, moving), settings, drawn).values())).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert sum(losses[-5:]) < 0.7 * sum(losses[:5]), architecture.kind


@pytest.mark.parametrize("kind", ["nephi", "unet"])
def test_terms_are_means_over_the_pairs(kind: str, field_settings: FieldSettings, grid: Grid, images: Images) -> None:
    """Whoever shares a batch: halves on two machines, or one after the other, add up to the whole."""
    nephi = NephiSettings(field=field_settings, encoder=ENCODER)
    network = build_model(nephi if kind == "nephi" else UNetSettings((4, 8, 8)), grid, generator())
    settings = TrainingObjectiveSettings(points=100, background_points=10)
    whole = network.terms(PairBatch(*images), settings, generators())
    apart = [network.terms(PairBatch(*(i[k : k + 1] for i in images)), settings, [generators()[k]]) for k in range(3)]
    for name, term in whole.items():
        torch.testing.assert_close(term, torch.stack([each[name] for each in apart]).mean())


def test_a_displacement_is_exact_at_voxel_centres(grid: Grid, images: Images) -> None:
    displacement = torch.randn(3, grid.dimension, *grid.shape, generator=generator())
    points = grid.voxel_centres().float().reshape(1, -1, grid.dimension).expand(3, -1, -1)
    moved = DisplacementMaps(displacement, grid)(points) - points
    torch.testing.assert_close(moved, displacement.flatten(2).transpose(1, 2), rtol=0, atol=1e-3)
