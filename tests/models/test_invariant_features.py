"""Features that turn with an image: exactly with its lattice, closely by any angle; and not with a mirror."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nephi.geometry import Grid, interpolate
from nephi.models import FeatureSettings
from nephi.models.networks.features import FeatureNetwork, near_foreground
from nephi.models.networks.invariant_features import GaussianDerivatives, InvariantFeatureNetwork

SMALL = FeatureSettings(6, 4, 1, (1, 2))


def turned_frame(dimension: int) -> Tensor:
    """A rotation `(D, D)` by no special angle about no special axis."""
    skew = torch.tensor([[0.0, -0.7, 0.3], [0.7, 0.0, -0.4], [-0.3, 0.4, 0.0]], dtype=torch.float64)
    return torch.linalg.matrix_exp(skew[:dimension, :dimension])


def blobs(points: Tensor) -> Tensor:
    """A smooth image without symmetry: three Gaussians, at points `(N, D)`, mm from its centre."""
    d = points.shape[-1]
    centres = torch.tensor([[0.0, 0.0, 0.0], [4.0, 1.0, 1.5], [-1.0, 3.0, -3.0]], dtype=torch.float64)[:, :d]
    heights = torch.tensor([0.5, 0.4, 0.3], dtype=torch.float64)
    return ((-(points[:, None] - centres).square().sum(dim=-1) / (2 * 1.8**2)).exp() * heights).sum(dim=-1)


def images_of(grid: Grid, matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The blobs turned by a matrix on a grid about the origin, and where they are near."""
    values = blobs(grid.voxel_centres().reshape(-1, grid.dimension).double() @ matrix).reshape(1, 1, *grid.shape)
    return values, near_foreground(values, SMALL.padding)


def cube(dimension: int, voxels: int = 27) -> Grid:
    return Grid.from_spacing((voxels,) * dimension, (1.0,) * dimension, (-0.5 * (voxels - 1),) * dimension)


@torch.no_grad()
def test_features_follow_turns_of_the_lattice_and_no_mirror(dimension: int) -> None:
    images = torch.zeros(1, 1, *[15] * dimension, dtype=torch.float64)
    inner = (slice(None), slice(None), *[slice(5, 10)] * dimension)
    images[inner] = torch.rand(images[inner].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    near = near_foreground(images, SMALL.padding)
    for kind, follows in ((InvariantFeatureNetwork, True), (FeatureNetwork, False)):
        network = kind(SMALL, cube(dimension, 15), torch.Generator().manual_seed(0)).double()
        features = network(images, near)
        for turns in range(1, 4):
            turned = network(images.rot90(turns, (2, dimension + 1)), near.rot90(turns, (2, dimension + 1)))
            difference = turned - features.rot90(turns, (2, dimension + 1))
            assert (float(difference.abs().max()) < 1e-9) == follows
        assert float((network(images.flip(2), near.flip(2)) - features.flip(2)).abs().max()) > 0.1


@torch.no_grad()
def test_features_turn_by_any_angle(dimension: int) -> None:
    """On one grid the image is turned; the features at turned places agree, those of convolutions do not."""
    grid, matrix = cube(dimension), turned_frame(dimension)
    places = 8 * torch.rand(60, dimension, generator=torch.Generator().manual_seed(2), dtype=torch.float64) - 4
    cosines = []
    for kind in (InvariantFeatureNetwork, FeatureNetwork):
        network = kind(SMALL, grid, torch.Generator().manual_seed(0)).double()
        found = [
            interpolate(network(*images_of(grid, each))[0].movedim(0, -1), grid.world_to_voxel_points(places @ each.mT))
            for each in (torch.eye(dimension, dtype=torch.float64), matrix)
        ]
        cosines.append(float(torch.nn.functional.cosine_similarity(found[0], found[1], dim=-1).quantile(0.1)))
    assert cosines[0] > 0.98 and cosines[1] < 0.9


@torch.no_grad()
def test_derivatives_of_a_gaussian_are_known(dimension: int) -> None:
    """On a turned grid of unequal spacings, in mm of the world: smoothing adds variances."""
    d, spacing = dimension, torch.tensor([1.0, 1.5, 2.0], dtype=torch.float64)[:dimension]
    affine = torch.eye(d + 1, dtype=torch.float64)
    affine[:-1, :-1] = turned_frame(d) * spacing
    shape = (45, 31, 23)[:d]
    affine[:-1, -1] = -affine[:-1, :-1] @ ((torch.tensor(shape, dtype=torch.float64) - 1) / 2)
    grid, s = Grid(shape, affine), 3.0
    points = grid.voxel_centres().reshape(-1, d).double()
    squares = points.square().sum(dim=-1)
    image = (-squares / (2 * s**2)).exp().reshape(1, 1, *shape)
    smoothed, gradients = GaussianDerivatives(grid, (1, 2)).double()(image)
    for k, deviation in enumerate((1, 2)):
        sigma = deviation * float(spacing.max())
        variance = s**2 + sigma**2
        expected = (s**2 / variance) ** (d / 2) * (-squares / (2 * variance)).exp()
        torch.testing.assert_close(smoothed[0, k].flatten(), expected, rtol=0, atol=2e-3)
        slopes = -sigma * points / variance * expected[:, None]
        torch.testing.assert_close(gradients[:, 0, k].flatten(1).T, slopes, rtol=0, atol=2e-3)


@torch.no_grad()
def test_the_ends_of_a_body_symmetric_by_a_half_turn_look_the_same_and_its_sides_by_a_mirror_do_not() -> None:
    grid = cube(2)
    centres = grid.voxel_centres().reshape(-1, 2).double()
    for signs, same in (((-1.0, -1.0), True), ((-1.0, 1.0), False)):
        image = (blobs(centres) + blobs(centres * torch.tensor(signs, dtype=torch.float64))).reshape(1, 1, *grid.shape)
        near = near_foreground(image, SMALL.padding)
        network = InvariantFeatureNetwork(SMALL, grid, torch.Generator().manual_seed(0)).double()
        features = network(image, near)
        other = features.flip((2, 3) if same else (2,))
        assert (float((features - other).abs().max()) < 1e-9) == same


def test_gradients_are_finite_without_foreground(dimension: int) -> None:
    grid = cube(dimension, 9)
    network = InvariantFeatureNetwork(SMALL, grid, torch.Generator().manual_seed(0))
    image = torch.zeros(2, 1, *grid.shape, dtype=torch.float32)
    image[1] = 1.0
    features = network(image, near_foreground(image, 1))
    assert float(features[0].detach().abs().max()) == 0 and bool(features.isfinite().all())
    features.square().sum().backward()
    assert all(weight.grad is not None and bool(weight.grad.isfinite().all()) for weight in network.parameters())


@pytest.mark.parametrize("blocks", [1, 3])
def test_sizes(dimension: int, blocks: int) -> None:
    settings = FeatureSettings(5, 2, blocks, (1, 2, 4))
    network = InvariantFeatureNetwork(settings, cube(dimension, 7), torch.Generator())
    parameters, memory = InvariantFeatureNetwork.size(settings, cube(dimension, 7))
    assert parameters == sum(p.numel() for p in network.parameters())
    assert math.isclose(memory, 8 * 5 * 7**dimension * (4 + 3 + 3 * dimension + 2 * dimension**2))
