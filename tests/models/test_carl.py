"""CARL: shifts of either image are followed exactly; what the attention compares."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.models import CARL, CARLSettings, FeatureSettings, UNetSettings
from nephi.models.carl import AttentionNetwork, TurnedAttentionNetwork
from nephi.models.composition import strided
from nephi.models.networks.features import FeatureNetwork, near_foreground, padded
from nephi.transforms import AttentionMaps

SMALL = FeatureSettings(6, 2, 2, (1, 2))
SHAPES, STRIDE = {2: (30, 41), 3: (18, 21, 20)}, 2


@pytest.fixture
def box(dimension: int) -> Grid:
    """Anisotropic and oblique; its edges are no multiples of the stride."""
    affine = torch.eye(dimension + 1, dtype=torch.float64)
    affine[:-1, :-1] = torch.tensor([[-2.0, 0.3, 0.0], [0.1, 1.5, 0.2], [0.0, -0.4, 2.5]])[:dimension, :dimension]
    affine[:-1, -1] = torch.tensor([40.0, -10.0, 7.0])[:dimension]
    return Grid(SHAPES[dimension], affine)


def blobs(shape: tuple[int, ...], seed: int, low: int = 6, size: int = 6) -> Tensor:
    """Two images `(2, 1, *shape)` of noise in a small cube on an empty background."""
    images = torch.zeros(2, 1, *shape, dtype=torch.float64)
    noise = torch.rand(2, 1, *[size] * len(shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    images[(..., *[slice(low, low + size)] * len(shape))] = noise
    return images


def rolled(images: Tensor, voxels: Tensor) -> Tensor:
    """Return the images after x -> x + voxels: image(x + voxels)."""
    return images.roll([-int(v) for v in voxels], dims=list(range(2, images.ndim)))


def model(grid: Grid, rotations: float = 0.0) -> CARL:
    settings = CARLSettings((STRIDE, 2, 1), SMALL, UNetSettings((4, 8)), rotations)
    return CARL(settings, grid, torch.Generator().manual_seed(3)).double()


def centres(grid: Grid, pairs: int = 2) -> Tensor:
    return (
        grid.voxel_centres()
        .double()
        .reshape(1, -1, grid.dimension)[:, :: 7 ** (grid.dimension - 1)]
        .expand(pairs, -1, -1)
    )


@torch.no_grad()
@pytest.mark.parametrize("rotations", [0.0, 180.0])
def test_shifts_of_either_image_are_followed_exactly(box: Grid, rotations: float) -> None:
    """phi[A o W, B o U] = W^-1 o phi[A, B] o U, for shifts by whole voxels of the attention, before training."""
    moving, fixed = (blobs(box.shape, seed) for seed in (1, 2))
    network, points = model(box, rotations), centres(box)
    prediction = network(fixed, moving)
    assert float((prediction.forward(points) - points).norm(dim=-1).mean()) > 1.0  # far from the identity
    for w, u in (((4, -6, 2), (-4, 2, -4)), ((-4, 4, -4), (0, 0, 0)), ((0, 0, 0), (-4, -6, 4))):
        w_voxels, u_voxels = (torch.tensor(shift[: box.dimension], dtype=torch.float64) for shift in (w, u))
        w_world, u_world = box.voxel_to_world_vectors(w_voxels), box.voxel_to_world_vectors(u_voxels)
        shifted = network(rolled(fixed, u_voxels), rolled(moving, w_voxels))
        assert prediction.inverse is not None and shifted.inverse is not None
        for found, expected in (
            (shifted.forward(points), prediction.forward(points + u_world) - w_world),
            (shifted.inverse(points), prediction.inverse(points + w_world) - u_world),
        ):
            distances = box.world_to_voxel_vectors(found - expected)
            assert float(distances.abs().max()) < 1e-5  # voxels


@torch.no_grad()
def test_features_do_not_mix_images_and_end_near_the_foreground(dimension: int) -> None:
    images = torch.cat([blobs((20,) * dimension, 1)[:1], 0.3 * blobs((20,) * dimension, 2, 5, 4)[:1]])
    grid = Grid.from_spacing((20,) * dimension, (1.0,) * dimension)
    network = FeatureNetwork(SMALL, grid, torch.Generator().manual_seed(0)).double()
    near = near_foreground(images, SMALL.padding)
    features = network(images, near)
    torch.testing.assert_close(network(images[1:], near[1:]), features[1:])
    lengths = features.norm(dim=1, keepdim=True)
    assert float(lengths.max()) < 4 and bool((lengths[near == 0] < 1e-3).all())
    assert float(lengths[near == 1].median()) > 3.9
    assert torch.equal(near[0, 0].bool().nonzero().aminmax(dim=0).max, torch.full((dimension,), 11 + SMALL.padding))
    # Contrast does not matter: all layers are homogeneous.
    torch.testing.assert_close(network(0.5 * images, near), features, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_images_without_foreground_give_translations(box: Grid) -> None:
    network, points = model(box), centres(box, 1)
    empty, blob = torch.zeros(1, 1, *box.shape, dtype=torch.float64), blobs(box.shape, 1)[:1]
    torch.testing.assert_close(network(empty, empty).forward(points), points)  # equal images: the identity
    for fixed, moving in ((empty, blob), (blob, empty)):
        displacement = network(fixed, moving).forward(points) - points
        assert bool(displacement.isfinite().all())
        torch.testing.assert_close(displacement, displacement[:, :1].expand_as(displacement))


def test_beyond_what_is_compared_the_map_of_a_turned_image_turns(dimension: int) -> None:
    """Quarter-turns of the moving image: exactly followed everywhere, and far away by the rotation itself."""
    grid = Grid.from_spacing((13,) * dimension, (2.0,) * dimension, (-12.0,) * dimension)
    moving, axes = blobs(grid.shape, 1, 4, 5)[:1], (2, 3)
    network = TurnedAttentionNetwork(FeatureSettings(6, 6, 1, (1, 2)), grid, torch.Generator().manual_seed(0)).double()
    turn = torch.eye(dimension, dtype=torch.float64)
    turn[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    points = 40 * random_points(dimension)
    first, turned = network(moving, moving).forward, network(moving, moving.rot90(1, axes)).forward
    torch.testing.assert_close(turned(points), first(points) @ turn.T, rtol=1e-6, atol=1e-6)
    assert isinstance(turned, AttentionMaps) and turned.continuation is not None
    rotation = turned.continuation[0]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(dimension, dtype=torch.float64))
    assert not turned.continuation.requires_grad and turned(points).requires_grad


def random_points(dimension: int) -> Tensor:
    unit = torch.rand(1, 50, dimension, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return 2 * unit - 1


@pytest.mark.parametrize("shape", [(1, 9), (2, 2), (3, 40), (9, 1, 8)])
def test_thin_and_tiny_images(shape: tuple[int, ...]) -> None:
    grid = Grid.from_spacing(shape, (2.0, 1.0, 3.0)[: len(shape)])
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 1, *shape, generator=generator, dtype=torch.float64)
    network = AttentionNetwork(SMALL, strided(grid, 4), generator).double()
    coarse = torch.rand(2, 1, *network.grid.shape, generator=generator, dtype=torch.float64)
    values, jacobians = network(coarse, coarse.flip(0)).forward.value_and_jacobian(centres(grid))
    assert images.shape[2:] == grid.shape and bool(values.isfinite().all()) and bool(jacobians.isfinite().all())


def test_sizes(box: Grid) -> None:
    network = FeatureNetwork(SMALL, box, torch.Generator())
    assert FeatureNetwork.size(SMALL, box)[0] == sum(p.numel() for p in network.parameters())
    assert padded(box, 3).shape == tuple(n + 6 for n in box.shape)
    published = FeatureSettings(channels=128)
    if box.dimension == 2:  # family.md: 1,330,304 with the biases and normalisation layers that are left out here
        assert FeatureNetwork.size(published, box)[0] == 1_330_304 - 128 - 3 * (3 * 128 + 2 * 128)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 0}, r"^model\.features\.channels: expected 1 to 1048576, got 0"),
        ({"padding": 10**6}, r"^model\.features\.padding: expected 1 to 64, got 1000000"),
        ({"blocks": 0}, r"^model\.features\.blocks: expected 1 to 16, got 0"),
        ({"dilations": ()}, r"^model\.features\.dilations: expected 1 to 8 integers from 1 to 64, got \(\)"),
        ({"dilations": (1, 0)}, r"^model\.features\.dilations: expected 1 to 8 integers from 1 to 64, got \(1, 0\)"),
    ],
)
def test_settings_that_cannot_be_used(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FeatureSettings(**changes)  # type: ignore[arg-type]
