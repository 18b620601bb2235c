"""The published U-Net: its size, its shortcuts, its normalisation, and the order of its array axes."""

import pytest
import torch
from torch import nn

from nephi.errors import UsageError
from nephi.geometry import Grid, interpolate_batch
from nephi.models import build_model
from nephi.models.published.axes import array_grid, array_images
from nephi.models.published.tall_unet import TallUNet, tall_unet_parameters, with_channels
from nephi.models.published.tall_unet_steps import (
    PublishedTallUNet,
    TallUNetSettings,
    TallUNetSteps,
    averaged_pairs,
    lattice,
)

PUBLISHED = TallUNetSettings()
GRID = Grid.from_spacing((175, 175, 175), (2.0, 2.0, 2.0))
SMALL = TallUNetSettings((1, 0), (4, 8), (4, 4))


@pytest.mark.parametrize(("dimension", "count"), [(2, 4_756_902), (3, 17_670_229)])
def test_the_number_of_parameters_is_the_published_one(dimension: int, count: int) -> None:
    assert tall_unet_parameters(dimension, PUBLISHED.down, PUBLISHED.up) == count
    with torch.device("meta"):
        network = TallUNet(dimension, PUBLISHED.down, PUBLISHED.up)
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize(("steps", "count"), [((2, 1, 0), 53_010_687), ((2, 1, 0, 0), 70_680_916)])
def test_the_stages_of_gradicon(steps: tuple[int, ...], count: int) -> None:
    assert PublishedTallUNet.size(TallUNetSettings(steps), GRID).parameters == count


def test_shortcuts_cut_channels_or_put_zeros_before_them() -> None:
    features = torch.arange(1.0, 7.0).reshape(1, 3, 2, 1)
    assert torch.equal(with_channels(features, 2), features[:, :2])
    wider = with_channels(features, 5)
    assert torch.equal(wider[:, :2], torch.zeros(1, 2, 2, 1)) and torch.equal(wider[:, 2:], features)


def test_untrained_levels_leave_only_the_shortcuts(dimension: int) -> None:
    """With convolutions of zeros, the features of an even image are its averages, interpolated back."""
    network = TallUNet(dimension, (2,), (2,))
    with torch.no_grad():
        for level in (network.down[0], network.up[0]):
            level.weight.zero_()
            level.bias.zero_()
        network.last.weight.zero_()
        network.last.bias.zero_()
        for k in range(dimension):
            network.last.weight[(k, k % 2) + (1,) * dimension] = 10.0  # of the centre, from channel k
        images = torch.rand(1, 2, *(8, 6, 4)[:dimension], generator=torch.Generator().manual_seed(0))
        mode = "bilinear" if dimension == 2 else "trilinear"
        expected = nn.functional.interpolate(averaged_pairs(images, 1), scale_factor=2, mode=mode)
        values = network(images)
    for k in range(dimension):
        torch.testing.assert_close(values[:, k], expected[:, k % 2] / (1 + 1e-5) ** 0.5)


def test_statistics_are_those_of_the_file_also_in_a_training(grid: Grid, images: tuple[torch.Tensor, ...]) -> None:
    model = build_model(SMALL, grid, torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.network.steps[1].last.weight.normal_(generator=torch.Generator().manual_seed(1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    points = grid.voxel_centres().reshape(1, -1, grid.dimension).expand(3, -1, -1)
    values = [model.train(mode)(*images).forward(points) for mode in (True, False)]
    torch.testing.assert_close(*values, rtol=0, atol=1e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("axes", ["itk", "canonical"])
def test_arrays_keep_the_positions_of_voxels(grid: Grid, axes: str) -> None:
    positions = grid.voxel_centres().movedim(-1, 0).unsqueeze(1)
    ordered = array_grid(grid, axes)
    torch.testing.assert_close(array_images(positions, axes)[:, 0].movedim(0, -1), ordered.voxel_centres())


def test_itk_arrays_of_lps_images() -> None:
    """The axes of a box point right, anterior, superior; the array's superior, posterior, left."""
    directions = array_grid(GRID, "itk").direction
    assert directions.T.tolist() == [[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]]
    flat = array_grid(Grid.from_spacing((9, 7), (1.0, 1.0)), "itk")
    assert flat.shape == (7, 9) and flat.direction.T.tolist() == [[0.0, -1.0], [-1.0, 0.0]]


def test_steps_are_composed_as_two_step_registration(grid: Grid, images: tuple[torch.Tensor, ...]) -> None:
    """`phi = phi_1 o phi_2`: phi_1 from halved images, phi_2 from the moving image warped by phi_1."""
    steps = TallUNetSteps(SMALL, grid)
    generator = torch.Generator().manual_seed(2)
    for step in steps.steps:
        step.initialise(generator)
        with torch.no_grad():
            step.last.weight.normal_(0, 0.1, generator=generator)
    fixed, moving = images

    def displacement(network: TallUNet, nodes: Grid, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        fractions = network(torch.cat([moving, fixed], dim=1))
        edges = nodes.voxel_to_world_vectors(torch.diag(torch.tensor(nodes.shape) - 1.0))  # one a row
        return torch.einsum("bi...,ij->bj...", fractions, edges)

    points = grid.voxel_centres().reshape(1, -1, grid.dimension).expand(3, -1, -1)
    coarse = lattice(grid, 1)
    halved = [averaged_pairs(image, 1) for image in (moving, fixed)]
    first = displacement(steps.steps[0], coarse, *halved)
    warped = interpolate_batch(moving, grid, points + interpolate_batch(first, coarse, points)).reshape(moving.shape)
    second = displacement(steps.steps[1], grid, warped, fixed).flatten(2).transpose(1, 2)
    expected = points + second + interpolate_batch(first, coarse, points + second)
    torch.testing.assert_close(steps(fixed, moving).forward(points), expected, rtol=0, atol=1e-3)
    assert float((expected.detach() - points).norm(dim=-1).mean()) > 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": ()}, r"model.steps: expected 1 to 16 numbers of halvings, 0 to 15, got \(\)"),
        ({"steps": (-1,)}, r"model.steps: expected .*, got \(-1,\)"),
        ({"down": (4,), "up": (4, 4)}, r"model.up: expected at least one positive integer, at most 16, as many"),
        ({"down": ()}, r"model.down: expected at least one positive integer"),
        ({"axes": "lps"}, "model.axes: expected one of itk, canonical, got 'lps'"),
    ],
)
def test_invalid_settings_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TallUNetSettings(**change)  # type: ignore[arg-type]


def test_images_of_too_few_voxels_are_refused_before_anything_is_built() -> None:
    grid = Grid.from_spacing((80, 64, 80), (2.0, 2.0, 2.0))
    message = r"input.shape: expected at least 65 voxels along each axis for model.steps and model.down, got \(80, 64"
    with pytest.raises(UsageError, match=message):
        build_model(PUBLISHED, grid, torch.Generator())
