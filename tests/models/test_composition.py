"""Steps: each network of a composition gets the images warped by the ones before."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nephi.fields import FieldSettings
from nephi.geometry import Grid, interpolate_batch
from nephi.models import (
    DisplacementUNet,
    DisplacementUNetSettings,
    EncoderSettings,
    NephiModel,
    NephiSettings,
    Steps,
    downsampled,
)
from nephi.models.composition import averaged, strided
from nephi.models.composition.warping import resized
from nephi.models.nephi import FieldNetwork
from nephi.transforms import ComposedMaps

from .translation import TranslationModel, TranslationSettings

ENCODER = EncoderSettings(filters=(4, 8, 8), features=16)
Images = tuple[Tensor, Tensor]


def generator(seed: int = 2) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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


def test_jacobians_of_the_composition_are_those_of_finite_differences(
    field_settings: FieldSettings, grid: Grid, images: Images
) -> None:
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


def test_steps_are_composed_without_resampling(field_settings: FieldSettings, grid: Grid, images: Images) -> None:
    """The second network sees the warped image; phi is the second deformation and then the first."""
    fine, coarse = grid, coarser(grid)
    network = steps(field_settings, coarse, fine)
    phi, psi, _ = network(*images)
    first, second = network.steps
    coarse_centres = coarse.voxel_centres().float().reshape(1, -1, grid.dimension).expand(3, -1, -1)
    downsampled = [
        interpolate_batch(averaged(image, coarse, fine), fine, coarse_centres).reshape(3, 1, *coarse.shape)
        for image in images
    ]
    one, one_back, _ = first(*downsampled)
    centres = fine.voxel_centres().float().reshape(1, -1, grid.dimension).expand(3, -1, -1)
    mode = "bilinear" if grid.dimension == 2 else "trilinear"
    moved = (one(coarse_centres) - coarse_centres).transpose(1, 2).reshape(3, -1, *coarse.shape)
    moved = torch.nn.functional.interpolate(moved, size=fine.shape, mode=mode, align_corners=True)
    warped = interpolate_batch(images[1], fine, centres + moved.flatten(2).transpose(1, 2)).reshape(images[1].shape)
    two, two_back, _ = second(images[0], warped)
    torch.testing.assert_close(phi(centres), one(two(centres)), rtol=0, atol=1e-3)
    torch.testing.assert_close(psi(centres), two_back(one_back(centres)), rtol=0, atol=1e-3)
    torch.testing.assert_close(ComposedMaps([two, one])(centres), phi(centres), rtol=0, atol=1e-3)


def test_downsampled_images_do_not_alias(dimension: int) -> None:
    """A checkerboard is grey from afar; a constant stays, also at the border; equal grids average nothing."""
    fine = Grid.from_spacing((16,) * dimension, (1.0,) * dimension, (0.0,) * dimension)
    coarse = Grid.from_spacing((8,) * dimension, (15 / 7,) * dimension, (0.0,) * dimension)
    board = fine.voxel_centres().sum(dim=-1).remainder(2).float()[None, None]
    inner = (0, 0, *(slice(1, -1),) * dimension)
    assert float((averaged(board, coarse, fine) - 0.5)[inner].abs().max()) < 0.06
    ones = torch.ones_like(board)
    torch.testing.assert_close(averaged(ones, coarse, fine), ones)
    assert torch.equal(averaged(board, fine, fine), board)


def test_each_axis_is_averaged_over_its_downsampling() -> None:
    """The same as one box of unequal sides, which counts voxels inside only."""
    fine = Grid.from_spacing((9, 7, 12), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    coarse = Grid.from_spacing((5, 7, 3), (2.0, 1.0, 5.5), (0.0, 0.0, 0.0))
    image = torch.rand(2, 1, *fine.shape, generator=torch.Generator().manual_seed(0))
    box = torch.nn.functional.avg_pool3d(image, (3, 1, 5), 1, (1, 0, 2), count_include_pad=False)
    torch.testing.assert_close(averaged(image, coarse, fine), box)


def test_any_networks_are_steps(grid: Grid, images: Images) -> None:
    """A translation from coarse images, then a U-Net; the composition has an inverse if both steps have one."""
    first = TranslationModel(TranslationSettings(), downsampled(grid, 2), generator())
    second = DisplacementUNet(DisplacementUNetSettings((4, 8)), grid, generator())
    with torch.no_grad():
        first.head.bias.copy_(torch.arange(1.0, 1.0 + grid.dimension))
        second.network.unet.last.bias.fill_(0.3)
    prediction = Steps(grid, [first, second])(*images)
    points = grid.voxel_centres().float().reshape(1, -1, grid.dimension).expand(3, -1, -1)
    displacement = first.head.bias + second.network.unet.axes @ torch.full((grid.dimension,), 0.3)
    torch.testing.assert_close(prediction.forward(points), points + displacement, rtol=0, atol=1e-3)
    assert prediction.inverse is None
    both = Steps(grid, [first, TranslationModel(TranslationSettings(), grid, generator())])(*images)
    assert both.inverse is not None
    torch.testing.assert_close(both.inverse(both.forward(points)), points, rtol=0, atol=1e-3)


def test_a_single_slice_stays_one() -> None:
    """An axis of one voxel has nothing to downsample; one of two voxels keeps both ends."""
    grid = downsampled(Grid.from_spacing((9, 2, 1), (1.0, 2.0, 3.0)), 4)
    assert grid.shape == (3, 2, 1) and grid.spacing.tolist() == [4.0, 2.0, 3.0]


@pytest.mark.parametrize("lattice", [downsampled, strided])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_values_between_lattices_are_interpolated_linearly(
    grid: Grid, factor: int, lattice: Callable[[Grid, int], Grid]
) -> None:
    coarse = lattice(grid, factor)
    values = torch.randn(2, 3, *coarse.shape, generator=generator(), dtype=torch.float64)
    points = grid.voxel_to_world_points(torch.cartesian_prod(*[torch.arange(n) for n in grid.shape]).double())
    expected = interpolate_batch(values, coarse, points.expand(2, -1, -1))
    found = resized(values, coarse, grid)
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), expected)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_strided_lattice_covers_the_box_about_its_centre(grid: Grid, factor: int) -> None:
    coarse = strided(grid, factor)
    torch.testing.assert_close(coarse.centre_world(), grid.centre_world())
    torch.testing.assert_close(coarse.affine[:-1, :-1], factor * grid.affine[:-1, :-1])
    corners = grid.world_to_voxel_points(coarse.corners_world())
    beyond = torch.stack([-corners.amin(dim=0), corners.amax(dim=0) - torch.tensor(grid.shape) + 1])
    assert bool((beyond >= -1e-9).all()) and bool((beyond < factor / 2).all())


def test_a_callers_autocast_does_not_round_displacements(grid: Grid) -> None:
    """Values of 200 mm on a coarse lattice, as the images of a later step are warped by."""
    coarse = downsampled(grid, 2)
    values = 200 + torch.rand(1, 2, *coarse.shape, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = resized(values, coarse, grid)
    torch.testing.assert_close(rounded, resized(values, coarse, grid), rtol=0, atol=1e-4)
