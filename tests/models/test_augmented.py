"""Random maps of both images inside of a prediction in training mode."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from nephi.geometry import Grid, interpolate
from nephi.models import (
    CARL,
    Augmented,
    CARLSettings,
    FeatureSettings,
    PairNetwork,
    UNetSettings,
    build_model,
    random_rotations,
    warp_images,
)
from nephi.transforms import AffineMaps, MapPair


def generators(count: int, first: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(first + k) for k in range(count)]


class Recorder(PairNetwork):
    """Keeps the images that it receives, and predicts a constant affine map and its inverse."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid
        self.images: tuple[Tensor, Tensor] | None = None

    def maps(self, count: int) -> AffineMaps:
        matrix = torch.eye(self.grid.dimension, dtype=torch.float64)
        matrix[0, 1] = 0.2
        return AffineMaps(matrix.expand(count, -1, -1), torch.full((count, self.grid.dimension), 1.5).double())

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        self.images = fixed, moving
        maps = self.maps(len(fixed))
        return MapPair(maps, maps.inverse())


def test_a_training_predicts_between_random_maps(grid: Grid, images: tuple[Tensor, Tensor]) -> None:
    """M o N[A o M, B o R^-1] o R, and its inverse; N itself otherwise."""
    fixed, moving = (image.double() for image in images)
    draw = partial(random_rotations, grid, 120.0)
    network = Augmented(Recorder(grid), draw)
    points = grid.voxel_centres().double().reshape(1, -1, grid.dimension)[:, ::5].expand(3, -1, -1)
    inner = network.network
    assert isinstance(inner, Recorder)
    network(fixed, moving)
    assert inner.images is not None and inner.images[0] is fixed
    network.generators = tuple(generators(3))
    network.eval()(fixed, moving)
    assert inner.images[0] is fixed
    prediction = network.train()(fixed, moving)
    drawn = generators(3)
    m, r = draw(drawn), draw(drawn)
    torch.testing.assert_close(prediction.forward(points), m(inner.maps(3)(r(points))))
    torch.testing.assert_close(prediction.inverse(prediction.forward(points)), points)
    torch.testing.assert_close(inner.images, (warp_images(fixed, grid, r.inverse()), warp_images(moving, grid, m)))


def test_the_random_maps_of_a_pair_do_not_depend_on_the_batch(images: tuple[Tensor, Tensor], grid: Grid) -> None:
    settings = CARLSettings((2, 1), FeatureSettings(4, 2, 1, (1, 2)), UNetSettings((4, 8)), rotations=90.0)
    model = CARL(settings, grid, torch.Generator().manual_seed(0))
    points = grid.voxel_centres().reshape(1, -1, grid.dimension)[:, ::17].expand(3, -1, -1)
    model.use_generators(generators(3))
    together = model(*images)
    model.use_generators(generators(1, first=1))
    alone = model(images[0][1:2], images[1][1:2])
    for batch, single in ((together.forward, alone.forward), (together.inverse, alone.inverse)):
        torch.testing.assert_close(single(points[:1]), batch(points)[1:2], rtol=1e-4, atol=1e-3)
    plain = model.eval()(*images).forward(points)
    assert not torch.allclose(plain, together.forward(points), atol=0.1)


def test_random_rotations_turn_about_the_centre_in_mm(grid: Grid) -> None:
    maps = random_rotations(grid, 30.0, generators(40))
    identity = torch.eye(grid.dimension, dtype=torch.float64)
    torch.testing.assert_close(maps.matrices @ maps.matrices.mT, identity.expand(40, -1, -1))
    centre = grid.centre_world().expand(40, 1, -1)
    torch.testing.assert_close(maps(centre), centre)
    trace = maps.matrices.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    angles = (((trace - 1) if grid.dimension == 3 else trace) / 2).clamp(-1, 1).acos().rad2deg()
    assert 20 < float(angles.max()) <= 30 and 5 < float(angles.mean()) < 25
    assert float(random_rotations(grid, 0.0, generators(1)).matrices.sub(identity).abs().max()) == 0


def test_warped_images_are_looked_up_at_the_mapped_voxels(grid: Grid, images: tuple[Tensor, Tensor]) -> None:
    moving = images[1].double()
    maps = random_rotations(grid, 180.0, generators(3))
    warped = warp_images(moving, grid, maps)
    voxel = [n // 2 + 1 for n in grid.shape]
    point = grid.voxel_to_world_points(torch.tensor(voxel, dtype=torch.float64)).expand(3, 1, -1)
    for pair in range(3):
        expected = interpolate(moving[pair, 0], grid.world_to_voxel_points(maps(point)[pair, 0]))
        torch.testing.assert_close(warped[(pair, 0, *voxel)], expected, rtol=1e-4, atol=1e-4)
    outside = AffineMaps(maps.matrices, maps.translations + 1000)
    for value in (0.0, 1.0):
        assert bool((warp_images(moving, grid, outside, value) == value).all())


def test_bright_surroundings_of_images_stay_bright(grid: Grid, images: tuple[Tensor, Tensor]) -> None:
    """Images turned bright outside in: the same prediction as that of the complements on a dark background."""
    settings = CARLSettings((2, 1), FeatureSettings(4, 2, 1, (1, 2)), UNetSettings((4, 8)), rotations=90.0)
    points = grid.voxel_centres().reshape(1, -1, grid.dimension)[:, ::17].expand(3, -1, -1)
    predictions = []
    for outside in (0.0, 1.0):
        model = build_model(settings, grid, torch.Generator().manual_seed(0), outside)
        model.use_generators(generators(3))
        predictions.append(model(*((outside - image).abs() for image in images)).forward(points))
    torch.testing.assert_close(predictions[1], predictions[0], rtol=1e-3, atol=1e-2)
