"""Inverse consistency by construction: with random weights that move points by voxels, before any training."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.models import (
    AffineNetwork,
    AffineNetworkSettings,
    Antisymmetric,
    Consistent,
    ConstrICON,
    ConstrICONSettings,
    DisplacementUNet,
    DisplacementUNetSettings,
    PairNetwork,
    Swapped,
    UNet,
    UNetSettings,
)
from nephi.models.composition import GROUPS
from nephi.transforms import AffineMaps, ComposedMaps, MapPair

MATRICES = [name for name in GROUPS if name != "flow"]
Images = tuple[Tensor, Tensor]


def noise(grid: Grid, pairs: int = 2, dtype: torch.dtype = torch.float64) -> Images:
    generator = torch.Generator().manual_seed(1)
    fixed, moving = (torch.rand(pairs, 1, *grid.shape, generator=generator, dtype=dtype) for _ in range(2))
    return fixed, moving


def centres(grid: Grid, pairs: int = 2) -> Tensor:
    return grid.voxel_centres().double().reshape(1, -1, grid.dimension).expand(pairs, -1, -1)


def step(kind: str, grid: Grid, seed: int = 0) -> Antisymmetric:
    """A step with random weights in its last layer, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "flow":
        network: UNet | AffineNetwork = UNet(UNetSettings((4, 8, 8, 8), finest=2), grid, generator, bias=False)
        spread = 0.2
    else:
        network = AffineNetwork(AffineNetworkSettings((4, 8), features=8), grid, generator)
        spread = 3.0
    with torch.no_grad():
        weight = network.last.weight
        weight += spread * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return Antisymmetric(network, kind).double()


def consistent(kinds: list[str], grid: Grid) -> Consistent:
    return Consistent(grid, [step(kind, grid, seed) for seed, kind in enumerate(kinds)])


def voxels_moved(grid: Grid, moved: Tensor, points: Tensor) -> Tensor:
    return grid.world_to_voxel_vectors(moved - points).norm(dim=-1)


def round_trips(grid: Grid, prediction: MapPair) -> Tensor:
    """Distances in voxels of phi(inverse(x)) and inverse(phi(x)) from x; requires that phi moves points by voxels."""
    points = centres(grid)
    phi, psi = prediction.forward, prediction.inverse
    assert psi is not None
    assert bool(voxels_moved(grid, phi(points), points).mean() > 1.0)
    return torch.stack([voxels_moved(grid, each, points) for each in (psi(phi(points)), phi(psi(points)))])


@pytest.mark.parametrize("kinds", [[kind] for kind in MATRICES] + [["rigid", "affine"], ["affine"] * 3])
def test_matrices_are_inverse_consistent_to_rounding(kinds: list[str], grid: Grid) -> None:
    errors = round_trips(grid, consistent(kinds, grid)(*noise(grid)))
    assert bool(errors.max() < 1e-12 * max(grid.shape))


@pytest.mark.parametrize("kinds", [["flow"], ["flow", "flow"], ["affine", "flow", "flow"]])
def test_flows_are_inverse_consistent_to_integration(kinds: list[str], grid: Grid) -> None:
    errors = round_trips(grid, consistent(kinds, grid)(*noise(grid)))
    assert bool(errors.mean() < 1e-4) and bool(errors.max() < 2e-3)


@pytest.mark.parametrize("kinds", [["affine", "flow"], ["rigid", "affine", "flow"]])
def test_equal_images_give_the_identity(kinds: list[str], grid: Grid) -> None:
    (fixed, _), points = noise(grid), centres(grid)
    prediction = consistent(kinds, grid)(fixed, fixed)
    assert prediction.inverse is not None
    for maps in (prediction.forward, prediction.inverse):
        torch.testing.assert_close(maps(points), points, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kinds", [["affine"], ["affine", "flow"], ["rigid", "affine", "flow"]])
def test_exchanged_images_exchange_the_maps(kinds: list[str], grid: Grid) -> None:
    network, (fixed, moving), points = consistent(kinds, grid), noise(grid), centres(grid)
    one, other = network(fixed, moving), network(moving, fixed)
    assert one.inverse is not None and other.inverse is not None
    torch.testing.assert_close(one.forward(points), other.inverse(points), rtol=0, atol=1e-6)
    torch.testing.assert_close(one.inverse(points), other.forward(points), rtol=0, atol=1e-6)


def test_lists_of_steps_are_nested_pairs(grid: Grid) -> None:
    """`s1 s2 s3 s2 s1` is `s1 g s1` with g the composition of the others, nested three deep.

    Nested, images are resampled once more, without effect where the first step is the identity.
    """
    steps = [step(kind, grid, seed) for seed, kind in enumerate(("shift", "affine", "affine"))]
    images, points = noise(grid), centres(grid)
    with torch.no_grad():
        steps[0].network.last.weight.zero_()
    flat = Consistent(grid, steps)(*images)
    nested = Consistent(grid, [steps[0], Consistent(grid, steps[1:])])(*images)
    for one, other in zip(flat[:2], nested[:2], strict=True):
        torch.testing.assert_close(one(points), other(points), rtol=0, atol=1e-4)  # float32 voxel centres


@pytest.mark.parametrize("kinds", [["affine", "rigid", "affine"], ["affine", "flow", "flow"]])
def test_the_first_steps_are_consistent_and_go_on_in_all(kinds: list[str], grid: Grid) -> None:
    """`s1 s2 s2 s1`: inverse consistent, exchanged with the images, and all of it with the identity as third step."""
    network, (fixed, moving), points = consistent(kinds, grid), noise(grid), centres(grid)
    network.use_steps(2)
    flows = "flow" in kinds
    assert bool(round_trips(grid, network(fixed, moving)).mean() < (1e-4 if flows else 1e-12 * max(grid.shape)))
    first, exchanged = network(fixed, moving), network(moving, fixed)
    assert exchanged.inverse is not None
    torch.testing.assert_close(exchanged.inverse(points), first.forward(points), rtol=0, atol=1e-6)
    network.use_steps(0)
    assert not torch.allclose(network(fixed, moving).forward(points), first.forward(points), atol=1e-3)
    with torch.no_grad():
        network.steps[2].network.last.weight.zero_()
    for one, other in zip(network(fixed, moving)[:2], first[:2], strict=True):
        torch.testing.assert_close(one(points), other(points), rtol=0, atol=1e-9)


def test_the_first_steps_are_trained_alone(grid: Grid) -> None:
    """The penalty is that of the steps in use; a shorter model is not a part of a longer one."""
    settings = ConstrICONSettings(("affine", "flow"), (2, 1), UNetSettings((4, 8)), AffineNetworkSettings((4, 8)))
    model = ConstrICON(settings, grid, torch.Generator().manual_seed(0))
    assert settings.step_count == 2 and settings.first_steps(1) == settings
    model.use_steps(1)
    affine, flow = (list(each.parameters()) for each in model.network.steps)
    assert all(p.requires_grad for p in affine) and not any(p.requires_grad for p in flow)
    assert model(*noise(grid, dtype=torch.float32)).penalties["velocity"] == 0
    model.use_steps(2, 1)
    assert not any(p.requires_grad for p in affine) and all(p.requires_grad for p in flow)
    with pytest.raises(UsageError, match=r"^network_steps: expected 0 to 2, the steps of the model, got 3"):
        model.use_steps(3)


class Fixed(PairNetwork):
    """Predicts the same maps for any images, and keeps the images."""

    def __init__(self, grid: Grid, pair: MapPair) -> None:
        super().__init__()
        self.grid, self.pair = grid, pair

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        self.images = fixed, moving
        return self.pair


def affine_pair(grid: Grid, seed: int) -> MapPair:
    random = torch.randn(2, grid.dimension, grid.dimension + 1, generator=torch.Generator().manual_seed(seed)).double()
    exponential = GROUPS["affine"]
    return MapPair(exponential(0.1 * random, grid), exponential(-0.1 * random, grid))


def test_each_step_moves_both_images_half_way(grid: Grid) -> None:
    """Three affine maps: the chain `s1 s2 s3 s2 s1`, and images `A o s1 o s2` and `B o s1' o s2'` for the third."""
    pairs = [affine_pair(grid, seed) for seed in range(3)]
    networks = [Fixed(grid, pair) for pair in pairs]
    points = centres(grid)

    def scene(points: Tensor) -> Tensor:  # linear, and so interpolated exactly
        return 0.01 * points.sum(dim=-1).reshape(2, 1, *grid.shape)

    prediction = Consistent(grid, networks)(scene(points), 2 * scene(points))
    (s1, i1, _), (s2, i2, _), (s3, i3, _) = pairs
    assert i1 is not None and i2 is not None and i3 is not None and prediction.inverse is not None
    torch.testing.assert_close(prediction.forward(points), s1(s2(s3(s2(s1(points))))))
    torch.testing.assert_close(prediction.inverse(points), i1(i2(i3(i2(i1(points))))))
    half_moving, half_fixed = s1(s2(points)), i1(i2(points))
    inner = _within_centres(grid, half_moving) & _within_centres(grid, half_fixed)
    images = networks[2].images
    assert float(inner.double().mean()) > 0.2
    torch.testing.assert_close(images[1].flatten(1)[inner], 2 * scene(half_moving).flatten(1)[inner])
    torch.testing.assert_close(images[0].flatten(1)[inner], scene(half_fixed).flatten(1)[inner])


def _within_centres(grid: Grid, points: Tensor) -> Tensor:
    voxels = grid.world_to_voxel_points(points)
    return ((voxels > 0) & (voxels < torch.tensor(grid.shape) - 1)).all(dim=-1)


def test_an_identity_as_second_step_leaves_the_root_twice(grid: Grid) -> None:
    root, second = step("affine", grid), step("affine", grid, seed=1)
    with torch.no_grad():
        second.network.last.weight.zero_()
    images, points = noise(grid), centres(grid)
    phi, s = Consistent(grid, [root, second])(*images).forward, root(*images).forward
    torch.testing.assert_close(phi(points), s(s(points)))


@pytest.mark.parametrize("spacing", [(1.0, 2.5), (1.0, 2.5, 0.7)])
@pytest.mark.parametrize("kind", ["shift", "rigid", "similarity"])
def test_rotations_are_rotations_in_millimetres(kind: str, spacing: tuple[float, ...]) -> None:
    grid = Grid.from_spacing((12, 9, 10)[: len(spacing)], spacing, (50.0, -20.0, 7.0)[: len(spacing)])
    forward, inverse, _ = step(kind, grid)(*noise(grid))
    assert isinstance(forward, AffineMaps) and isinstance(inverse, AffineMaps)
    identity = torch.eye(len(spacing), dtype=torch.float64).expand(2, -1, -1)
    determinant = torch.linalg.det(forward.matrices)
    scale = determinant ** (1 / len(spacing))
    rotation = forward.matrices / scale[:, None, None]
    torch.testing.assert_close(rotation.mT @ rotation, identity, rtol=0, atol=1e-12)
    if kind != "similarity":
        torch.testing.assert_close(determinant, torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-12)
    assert torch.equal(forward.matrices, identity) == (kind == "shift")
    if kind == "rigid":  # about the centre, which only the vector moves
        unmoved = step(kind, grid)
        with torch.no_grad():
            unmoved.network.last.weight.unflatten(0, (len(spacing), -1))[:, -1] = 0
        centre = grid.centre_world().expand(2, 1, -1)
        turned = unmoved(*noise(grid)).forward
        torch.testing.assert_close(turned(centre), centre)


def test_the_affine_network_is_independent_of_the_orientation_of_the_grid(grid_3d: Grid) -> None:
    """The same voxels on a rotated grid: matrix and vector rotate with it."""
    rotation = torch.eye(4, dtype=torch.float64)
    rotation[:3, :3] = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(3)).double())[0]
    one, other = (step("affine", grid).network for grid in (grid_3d, grid_3d.transformed(rotation)))
    images, turn = noise(grid_3d), rotation[:3, :3]
    before, after = one(*images), other(*images)
    torch.testing.assert_close(after[..., :-1], turn @ before[..., :-1] @ turn.T, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(after[..., -1], before[..., -1] @ turn.T, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", [(5, 3), (33, 6), (9, 7, 1), (2, 2, 2)])
def test_constant_small_and_flat_images(shape: tuple[int, ...]) -> None:
    """Finite, inverse consistent, and the identity for constant images of equal value."""
    grid = Grid.from_spacing(shape, (1.0, 2.5, 4.0)[: len(shape)])
    settings = ConstrICONSettings(
        ("rigid", "flow", "flow"), (4, 2, 1), UNetSettings((4, 8)), AffineNetworkSettings((4, 8), features=8)
    )
    model = ConstrICON(settings, grid, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    model, points = model.double(), centres(grid)
    constant = torch.full((2, 1, *shape), 0.5, dtype=torch.float64)
    for images in ((constant, 0.0 * constant), noise(grid)):
        prediction = model(*images)
        assert prediction.inverse is not None
        moved = prediction.inverse(prediction.forward(points))
        assert bool(voxels_moved(grid, moved, points).max() < 1e-3)
    torch.testing.assert_close(model(constant, constant).forward(points), points)


def test_each_velocity_is_penalised_once(grid: Grid) -> None:
    network, images = consistent(["affine", "flow", "flow"], grid), noise(grid)
    prediction = network(*images)
    assert isinstance(prediction.forward, ComposedMaps) and len(prediction.forward.members) == 5
    members = prediction.forward.members
    expected = [members[k].penalties()["velocity"] for k in (1, 2)]
    torch.testing.assert_close(prediction.penalties["velocity"], torch.stack(expected).mean())


def test_gradients_of_a_step_of_each_group(grid: Grid) -> None:
    """Closed-form Jacobians of a consistent chain against central differences."""
    maps, points = consistent(["similarity", "flow"], grid)(*noise(grid)).forward, centres(grid)[:, 5::7] + 0.13
    jacobians, h = maps.value_and_jacobian(points)[1], 1e-6
    for axis in range(grid.dimension):
        shift = h * torch.eye(grid.dimension, dtype=torch.float64)[axis]
        slope = (maps(points + shift) - maps(points - shift)) / (2 * h)
        torch.testing.assert_close(jacobians[..., axis], slope, rtol=1e-5, atol=1e-5)


def test_networks_without_an_inverse_are_refused(grid: Grid) -> None:
    generator = torch.Generator().manual_seed(0)
    network = DisplacementUNet(DisplacementUNetSettings((4, 8)), grid, generator)
    images = noise(grid, dtype=torch.float32)
    with pytest.raises(UsageError, match=r"^steps: expected networks that predict an inverse, got DisplacementUNet$"):
        Consistent(grid, [network])(*images)
    assert Consistent(grid, [Swapped(network), Swapped(network)])(*images).inverse is not None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": ("affine", "spline")}, r"model\.steps: expected at least one of shift, rigid, .*'spline'"),
        ({"steps": ()}, r"model\.steps: expected at least one of shift, rigid, .*got \(\)"),
        ({"downsampling": (2, 1)}, r"model\.downsampling: expected one number, or 4, one for each of model\.steps"),
        ({"downsampling": (0,)}, r"model\.downsampling: expected a positive integer"),
        ({"steps": ("shift",) * 17}, r"model\.downsampling: expected a positive integer for each step, at most 16"),
    ],
)
def test_unusable_settings_are_refused(values: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ConstrICONSettings(**values)


@pytest.mark.parametrize("name", ["pooled", "features"])
def test_unusable_affine_networks_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=rf"model\.affine\.{name}: expected a positive integer, got 0"):
        AffineNetworkSettings(**{name: 0})
    with pytest.raises(UsageError, match=r"model\.affine\.filters: expected at least one positive integer"):
        AffineNetworkSettings(())
