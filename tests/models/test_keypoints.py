"""Keypoints of single images, and the maps that follow from them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.models import DisplacementUNetSettings, KeyMorph, KeyMorphSettings, Keypoints, build_model, keypoint_maps
from nephi.models.alignments import asymmetry, half_edge
from nephi.models.networks.keypoints import (
    KeypointNetwork,
    KeypointSettings,
    centres_of_mass,
    keypoint_network_size,
    pooled_grid,
)
from nephi.models.published.published_keymorph import centres_of_mass as published_centres_of_mass


def network(grid: Grid, settings: KeypointSettings) -> KeypointNetwork:
    return KeypointNetwork(settings, grid, torch.Generator().manual_seed(2))


def large_grid(dimension: int) -> Grid:
    """Oblique and anisotropic; its edges are multiples of 4."""
    affine = torch.eye(dimension + 1, dtype=torch.float64)
    axes = torch.tensor([[-2.0, 0.3, 0.0], [0.1, 1.5, 0.2], [0.0, -0.4, 2.5]], dtype=torch.float64)
    affine[:-1, :-1] = axes[:dimension, :dimension]
    affine[:-1, -1] = torch.tensor([40.0, -10.0, 7.0])[:dimension]
    return Grid((40, 32, 28)[:dimension], affine)


def blob(grid: Grid, size: int) -> Tensor:
    """A textured block of `size` voxels along each axis, with empty background, in the middle of an image."""
    image = torch.zeros(1, 1, *grid.shape)
    part = tuple(slice(n // 2 - size // 2, n // 2 + size // 2) for n in grid.shape)
    image[(0, 0, *part)] = torch.rand([size] * grid.dimension, generator=torch.Generator().manual_seed(5)) + 0.5
    return image


def test_keypoints_are_shifted_with_the_image(dimension: int) -> None:
    """By whole cells of the heat maps, where no feature reaches the border: here weights above 0 keep it empty."""
    grid = large_grid(dimension)
    finder = network(grid, KeypointSettings(24, (6, 6, 8, 8)))
    with torch.no_grad():
        for parameter in finder.parameters():
            parameter.abs_()
    image, steps = blob(grid, 6), [4, -4, 0][:dimension]
    plain, moved = finder(image), finder(torch.roll(image, steps, dims=tuple(range(2, 2 + dimension))))
    assert bool((plain.weights > 0).all())
    offset = grid.voxel_to_world_vectors(torch.tensor(steps, dtype=torch.float64)).float()
    torch.testing.assert_close(moved.points, plain.points + offset, rtol=0, atol=1e-4)
    torch.testing.assert_close(moved.weights, plain.weights, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("halvings", [0, 1, 3])
def test_cells_of_pooled_maps_lie_between_their_voxels(dimension: int, halvings: int) -> None:
    grid, size = large_grid(dimension), 2**halvings
    pooled = pooled_grid(grid, halvings)
    assert pooled.shape == tuple(math.ceil(n / size) for n in grid.shape)
    index = torch.tensor([1, 2, 1][:dimension])
    voxels = torch.cartesian_prod(*[torch.arange(int(i) * size, int(i + 1) * size) for i in index])
    expected = grid.voxel_to_world_points(voxels).mean(dim=0)
    torch.testing.assert_close(pooled.voxel_to_world_points(index), expected)


def test_centres_of_mass_in_mm(dimension: int) -> None:
    """One hot cell, two of different heat, and an empty heat map."""
    grid = large_grid(dimension)
    cells, centre = grid.voxel_centres().reshape(-1, dimension).double(), grid.centre_world()
    heat = torch.zeros(1, 3, *grid.shape, dtype=torch.float64)
    one, other = ([1, 2, 3][:dimension], [9, 20, 11][:dimension])
    heat[(0, 0, *one)] = 2.0
    heat[(0, 1, *one)], heat[(0, 1, *other)] = 1.0, 3.0
    heat.requires_grad_()
    points, weights = centres_of_mass(heat, cells, centre)
    places = grid.voxel_to_world_points(torch.tensor([one, other]))
    expected = torch.stack([places[0], 0.25 * places[0] + 0.75 * places[1], centre])
    torch.testing.assert_close(points[0], expected, rtol=0, atol=1e-4)
    assert weights[0].tolist() == [2.0, 4.0, 0.0]
    (gradient,) = torch.autograd.grad(points.sum(), heat)
    assert bool(gradient.isfinite().all())


def test_mixed_precision_does_not_round_centres_of_mass(dimension: int) -> None:
    """That would move them by 1 mm at 200 mm; heat maps may have been computed in half precision."""
    grid = large_grid(dimension)
    cells, centre = grid.voxel_centres().reshape(-1, dimension), grid.centre_world()
    heat = torch.rand(2, 3, *grid.shape, generator=torch.Generator().manual_seed(0)).bfloat16()
    expected = centres_of_mass(heat.double(), cells.double(), centre.double()).points
    fractions, _ = published_centres_of_mass(heat.double())
    with torch.autocast("cpu", torch.bfloat16):
        found = centres_of_mass(heat, cells.float(), centre.float()).points
        published, _ = published_centres_of_mass(heat)
    torch.testing.assert_close(found, expected.float(), rtol=0, atol=1e-3)
    torch.testing.assert_close(published, fractions, rtol=0, atol=1e-5)


def test_images_of_a_batch_have_their_own_keypoints(dimension: int) -> None:
    grid = large_grid(dimension)
    images = torch.rand(3, 1, *grid.shape, generator=torch.Generator().manual_seed(3))
    finder = network(grid, KeypointSettings(5, (4, 6)))
    together = finder(images)
    for k in range(3):
        alone = finder(images[k : k + 1])
        torch.testing.assert_close(alone.points[0], together.points[k], rtol=0, atol=1e-3)


def test_a_constant_image_has_no_keypoints(dimension: int) -> None:
    grid = large_grid(dimension)
    model = build_model(KeyMorphSettings(5, (4, 6)), grid, torch.Generator().manual_seed(0))
    constant, other = torch.full((1, 1, *grid.shape), 0.7), blob(grid, 6)
    maps = model(constant * 0, other)
    points = grid.voxel_centres().reshape(1, -1, dimension)[:, ::7]
    torch.testing.assert_close(maps.forward(points), points, rtol=0, atol=1e-4)
    assert bool(model(constant, other).forward(points).isfinite().all())


def test_published_widths(dimension: int) -> None:
    """2,637,568 parameters for 64 keypoints in 2-D and 8,794,496 for 128 in 3-D, with biases (family.md)."""
    settings = KeypointSettings({2: 64, 3: 128}[dimension], (32, 64, 64, 128, 128, 256, 256, 512))
    grid = Grid.from_spacing((32,) * dimension, (1.0,) * dimension)
    biases = sum(settings.filters) + settings.keypoints
    assert keypoint_network_size(settings, grid)[0] + biases == {2: 2_637_568, 3: 8_794_496}[dimension]


def test_heat_maps_of_one_cell_are_refused() -> None:
    grid = Grid.from_spacing((16, 12), (1.0, 1.0))
    with pytest.raises(UsageError, match=r"^model\.filters: expected fewer blocks, so that heat maps of images of sh"):
        KeyMorph(KeyMorphSettings(), grid, torch.Generator())
    KeyMorph(KeyMorphSettings(), Grid.from_spacing((17, 12), (1.0, 1.0)), torch.Generator())


@pytest.fixture
def model(grid: Grid) -> KeyMorph:
    return KeyMorph(KeyMorphSettings(8, (6, 8)), grid, torch.Generator().manual_seed(4))


NAMES = ["rigid", "similarity", "affine", "halfway", "tps:0", "tps:0.1", "tps:1e3"]


def test_one_pass_gives_all_alignments(model: KeyMorph, grid: Grid, images: tuple[Tensor, Tensor]) -> None:
    passes: list[int] = []
    model.network.register_forward_hook(lambda *_: passes.append(1))
    maps = model.alignments(*images, NAMES)
    assert list(maps) == NAMES and len(passes) == 1
    points = grid.voxel_centres().reshape(1, -1, grid.dimension)[:, ::9].expand(3, -1, -1)
    for name, pair in maps.items():
        values, jacobians = pair.forward.value_and_jacobian(points)
        assert values.shape == points.shape and bool(jacobians.isfinite().all()) and pair.inverse is not None
        if not name.startswith("tps"):
            torch.testing.assert_close(pair.inverse(values), points, rtol=0, atol=2e-2)
    torch.testing.assert_close(maps["affine"].forward(points), model(*images).forward(points))
    rotation = maps["rigid"].forward.value_and_jacobian(points.double())[1]  # in mm, whatever the voxels
    torch.testing.assert_close(
        rotation @ rotation.transpose(-1, -2), torch.eye(grid.dimension).double().expand_as(rotation)
    )
    interpolated, keypoints = maps["tps:0"].forward, [model.keypoints(image).points for image in images]
    torch.testing.assert_close(interpolated(keypoints[0]), keypoints[1], rtol=0, atol=1e-2)


@pytest.mark.parametrize("name", ["rigid", "similarity", "halfway"])
def test_exchanged_images_give_the_inverse(
    model: KeyMorph, grid: Grid, images: tuple[Tensor, Tensor], name: str
) -> None:
    forward, backward = (model.alignments(*pair, [name])[name] for pair in (images, images[::-1]))
    points = grid.voxel_centres().double().reshape(1, -1, grid.dimension)[:, ::9].expand(3, -1, -1)
    assert backward.inverse is not None
    torch.testing.assert_close(backward.inverse(points), forward.forward(points), rtol=0, atol=1e-2)


def test_the_asymmetry_is_measured(model: KeyMorph, grid: Grid, images: tuple[Tensor, Tensor]) -> None:
    """Zero where theory requires it; elsewhere the distance between the maps of both orders."""
    maps, exchanged = (model.alignments(*pair, NAMES) for pair in (images, images[::-1]))
    for name in NAMES:
        values = asymmetry(maps[name].forward, exchanged[name].forward, grid)
        assert values.shape == (3,) and bool((values < 1e-2).all()) == (name in ("rigid", "similarity", "halfway"))
        scaled = asymmetry(maps[name].forward, exchanged[name].forward, grid, 2 * torch.eye(grid.dimension))
        torch.testing.assert_close(scaled, 2 * values)
    points = grid.voxel_centres().double().reshape(1, -1, grid.dimension).expand(3, -1, -1)
    expected = exchanged["affine"].forward(maps["affine"].forward(points)) - points
    values = asymmetry(maps["affine"].forward, exchanged["affine"].forward, grid)
    torch.testing.assert_close(values, expected.norm(dim=-1).mean(dim=1), rtol=0.05, atol=1e-6)


def test_equal_images_give_the_identity(model: KeyMorph, grid: Grid, images: tuple[Tensor, Tensor]) -> None:
    points = grid.voxel_centres().reshape(1, -1, grid.dimension)[:, ::9].expand(3, -1, -1)
    for pair in model.alignments(images[0], images[0], NAMES).values():
        for maps in (pair.forward, pair.inverse):
            assert maps is not None
            torch.testing.assert_close(maps(points), points, rtol=0, atol=1e-3)


def test_unknown_alignments_are_refused(model: KeyMorph, images: tuple[Tensor, Tensor]) -> None:
    for name in ("tps", "tps:", "tps:-1", "tps:nan", "tps:inf", "tps:a", "bspline", ""):
        with pytest.raises(UsageError, match=r"^align: expected rigid, similarity, affine, halfway, or tps: and a nu"):
            model.alignments(*images, ["rigid", name])
        with pytest.raises(UsageError, match=r"^model\.align: expected rigid"):
            KeyMorphSettings(align=name)
    with pytest.raises(UsageError, match=r"^model\.weighting: expected "):
        KeyMorphSettings(weighting="variance")
    for settings in ({"keypoints": 0}, {"filters": ()}, {"filters": (0, 4)}):
        with pytest.raises(UsageError, match=r"^model\.(keypoints|filters): expected"):
            KeyMorphSettings(**settings)  # type: ignore[arg-type]


def test_smoothing_is_drawn_for_each_training_pair(grid: Grid, images: tuple[Tensor, Tensor]) -> None:
    """From its own generator, so that batches can be divided; predictions keep that of `align`."""
    settings = KeyMorphSettings(8, (6, 8), align="tps:0.1", random_smoothing=(1e-6, 10.0))
    model = KeyMorph(settings, grid, torch.Generator().manual_seed(4))
    points = grid.voxel_centres().reshape(1, -1, grid.dimension)[:, ::9].expand(3, -1, -1)

    def generators() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in range(3)]

    plain = KeyMorph(KeyMorphSettings(8, (6, 8), align="tps:0.1"), grid, torch.Generator().manual_seed(4))
    model.use_generators(generators())
    drawn = model(*images).forward(points)
    model.use_generators(generators()[1:2])
    alone = model(images[0][1:2], images[1][1:2]).forward(points[:1])
    torch.testing.assert_close(alone[0], drawn[1], rtol=1e-4, atol=1e-2)
    expected = plain(*images).forward(points)
    assert not torch.allclose(drawn, expected)
    torch.testing.assert_close(model.eval()(*images).forward(points), expected)
    for wrong in ((1.0,), (0.0, 1.0), (2.0, 1.0), (1.0, math.inf)):
        with pytest.raises(UsageError, match=r"^model\.random_smoothing: expected two numbers above 0"):
            KeyMorphSettings(align="tps:0", random_smoothing=wrong)
    with pytest.raises(UsageError, match=r"^model\.random_smoothing: expected none for align = 'affine'"):
        KeyMorphSettings(random_smoothing=(0.1, 1.0))


def test_models_without_keypoints_say_so(grid: Grid, images: tuple[Tensor, Tensor]) -> None:
    unet = build_model(DisplacementUNetSettings((4, 8)), grid, torch.Generator())
    assert unet.keypoints(images[0]) is None
    with pytest.raises(UsageError, match=r'^align: expected a model with keypoints, got kind = "unet"'):
        unet.alignments(*images, ["rigid"])


def test_smoothing_is_in_units_of_half_the_longest_edge(dimension: int) -> None:
    grid = large_grid(dimension)
    larger = grid.transformed(torch.diag(torch.tensor([3.0] * dimension + [1.0])))
    assert half_edge(larger) == pytest.approx(3 * half_edge(grid))
    edges = [(n - 1) * float(s) for n, s in zip(grid.shape, grid.spacing, strict=True)]
    assert half_edge(grid) == pytest.approx(max(edges) / 2)
    generator = torch.Generator().manual_seed(1)
    fixed, moving = (
        Keypoints(30 * torch.rand(2, 9, dimension, generator=generator), torch.ones(2, 9)) for _ in range(2)
    )
    scaled = [Keypoints(3 * each.points, each.weights) for each in (fixed, moving)]
    points = 40 * torch.rand(2, 20, dimension, generator=generator)
    plain = keypoint_maps("tps:0.1", fixed, moving, None, grid).forward(points)
    torch.testing.assert_close(
        keypoint_maps("tps:0.1", *scaled, None, larger).forward(3 * points), 3 * plain, rtol=0, atol=1e-3
    )
