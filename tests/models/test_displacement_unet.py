"""The displacement U-Net: published size, units, velocities; every term of its loss by an independent formula."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy import ndimage
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.models import DisplacementUNet, DisplacementUNetSettings, UNetSettings, build_model
from nephi.models.networks.unet import UNet, unet_size
from nephi.objective import PairBatch, SamplePoints, compared_images, loss_terms, sample_points, training_terms
from nephi.settings import TrainingObjectiveSettings
from nephi.transforms import DisplacementMaps, MapPair

VOXELMORPH = UNetSettings((16, 32, 32, 32, 32), final=(32, 16, 16), normalized=False)
OBJECTIVE = TrainingObjectiveSettings(gradicon=0.0, codes=0.0, points=60, background_points=40)
Images = tuple[Tensor, Tensor]


def random_model(settings: DisplacementUNetSettings, grid: Grid) -> DisplacementUNet:
    """A model that moves points by about a voxel."""
    generator = torch.Generator().manual_seed(2)
    model = DisplacementUNet(settings, grid, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return model


def test_voxelmorphs_published_network_is_a_setting() -> None:
    grid = Grid.from_spacing((16, 16, 16), (1.0, 1.0, 1.0))
    network = UNet(VOXELMORPH, grid, torch.Generator().manual_seed(0))
    assert sum(parameter.numel() for parameter in network.parameters()) == 327_331
    assert unet_size(VOXELMORPH, grid)[0] == 327_331
    image = torch.rand(1, 1, 16, 16, 16)
    assert network(image, image).shape == (1, 3, 16, 16, 16)


def test_vectors_are_in_tenths_of_the_edges(grid: Grid, images: Images) -> None:
    network = UNet(UNetSettings((4, 8), finest=0), grid, torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.last.bias[1] = 1.0
    edge = grid.affine[:-1, 1].float() * (grid.shape[1] - 1)
    expected = (edge / 10).reshape(-1, *[1] * grid.dimension).expand(3, -1, *grid.shape)
    torch.testing.assert_close(network(*images), expected)


@pytest.mark.parametrize("finest", [0, 1])
def test_a_velocity_has_an_exact_inverse(finest: int, grid: Grid, images: Images) -> None:
    """Before any training, with maps that move points by voxels; its displacement is not the velocity itself."""
    settings = DisplacementUNetSettings((4, 8, 8), finest, transform="velocity")
    model = random_model(settings, grid).double()
    with torch.no_grad():
        model.network.unet.last.bias += 0.5
    prediction = model(*(image.double() for image in images))
    points = grid.voxel_centres().double().reshape(1, -1, grid.dimension).expand(3, -1, -1)
    moved = prediction.forward(points).detach()
    assert prediction.inverse is not None
    assert float(grid.world_to_voxel_vectors(moved - points).norm(dim=-1).mean()) > 0.5
    errors = grid.world_to_voxel_vectors(prediction.inverse(moved).detach() - points).norm(dim=-1)
    assert float(errors.mean()) < 1e-4
    displacement = replace(settings, transform="displacement")
    other = random_model(displacement, grid).double()
    other.load_state_dict(model.state_dict())
    assert not torch.allclose(other(*(image.double() for image in images)).forward(points), moved, atol=1e-2)


def test_settings_that_no_network_has() -> None:
    with pytest.raises(UsageError, match=r"^model\.transform: expected one of displacement, velocity, got 'spline'$"):
        DisplacementUNetSettings(transform="spline")
    for final in ((0,), (4, -1), (1,) * 17):
        with pytest.raises(UsageError, match=r"^model\.unet\.final: expected positive integers, at most 16, got"):
            UNetSettings(final=final)
    grid = Grid.from_spacing((2, 2), (1.0, 1.0))
    with pytest.raises(UsageError, match=r"^model\.filters: expected fewer resolutions, or 2 channels"):
        build_model(DisplacementUNetSettings((4, 1)), grid, torch.Generator())
    build_model(DisplacementUNetSettings((4, 1), normalized=False), grid, torch.Generator())


class Prediction:
    """A prediction, its images and points, and each term by formulas of scipy in double precision."""

    def __init__(self, grid: Grid, images: Images) -> None:
        self.grid = grid
        model = random_model(DisplacementUNetSettings((4, 8)), grid)
        self.batch = PairBatch(*(image[:1] for image in images))
        with torch.no_grad():
            maps = model(self.batch.fixed, self.batch.moving).forward
        assert isinstance(maps, DisplacementMaps)
        self.maps = maps
        drawn = sample_points(self.batch, grid, OBJECTIVE, [torch.Generator().manual_seed(0)])
        # Inside by three voxels, so that all samples are in both images.
        last = torch.tensor(grid.shape, dtype=torch.float64) - 1
        inner = (self._inner(part, last).float() for part in (drawn.fixed, drawn.moving, drawn.background))
        self.points = SamplePoints(*inner)

    def _inner(self, points: Tensor, last: Tensor) -> Tensor:
        voxels = self.grid.world_to_voxel_points(points.double())
        return self.grid.voxel_to_world_points(3 + voxels * (last - 6) / last)

    def terms(self, **changes: object) -> dict[str, Tensor]:
        settings = replace(OBJECTIVE, **changes)
        images = compared_images(self.batch, self.grid, settings)
        return loss_terms(MapPair(self.maps), images, self.points, settings)

    def phi(self, points: Tensor) -> Tensor:
        """The map by scipy: `(N, D)` to `(N, D)`."""
        return points + torch.stack([self.sampled(part, points) for part in self.maps.displacement[0]], dim=-1)

    def sampled(self, values: Tensor, points: Tensor) -> Tensor:
        voxels = self.grid.world_to_voxel_points(points.double())
        coordinates = voxels.movedim(-1, 0).numpy()
        return torch.from_numpy(ndimage.map_coordinates(values.double().numpy(), coordinates, order=1, mode="nearest"))

    def jacobian(self, points: Tensor, step: float = 1e-5) -> Tensor:
        """By central differences: `(N, D, D)`."""
        shifts = step * torch.eye(self.grid.dimension, dtype=torch.float64)
        columns = [(self.phi(points + shift) - self.phi(points - shift)) / (2 * step) for shift in shifts]
        return torch.stack(columns, dim=-1)


@pytest.fixture
def prediction(grid: Grid, images: Images) -> Prediction:
    return Prediction(grid, images)


def test_mse_is_the_mean_over_the_points(prediction: Prediction) -> None:
    points = prediction.points.fixed[0].double()
    fixed = prediction.sampled(prediction.batch.fixed[0, 0], points)
    warped = prediction.sampled(prediction.batch.moving[0, 0], prediction.phi(points))
    value = prediction.terms(similarity="mse")["similarity"]
    assert float(value) == pytest.approx(float((fixed - warped).square().mean()), rel=1e-4)


def test_windowed_ncc_is_that_of_the_warped_windows(prediction: Prediction) -> None:
    """Windows of 5^D samples, warped to first order; a small floor weighs all windows alike."""
    points = prediction.points.fixed[0].double()
    steps = torch.arange(-2, 3, dtype=torch.float64) * 0.5
    offsets = torch.cartesian_prod(*[steps] * prediction.grid.dimension)
    windows = points.unsqueeze(1) + offsets
    warped = prediction.phi(points).unsqueeze(1) + offsets @ prediction.jacobian(points).transpose(-1, -2)
    values = (
        prediction.sampled(prediction.batch.fixed[0, 0], windows),
        prediction.sampled(prediction.batch.moving[0, 0], warped),
    )
    a, b = (value - value.mean(dim=1, keepdim=True) for value in values)
    squared = (a * b).sum(dim=1).square() / (a.square().sum(dim=1) * b.square().sum(dim=1))
    term = prediction.terms(similarity="lncc2", radius=2, spacing=0.5, variance_floor=1e-6)["similarity"]
    assert float(term) == pytest.approx(1 - float(squared.mean()), rel=1e-3)


def test_diffusion_and_bending_are_means_of_derivatives(prediction: Prediction) -> None:
    points, step = prediction.points.background[0].double(), 0.7
    identity = torch.eye(prediction.grid.dimension, dtype=torch.float64)
    terms = prediction.terms(diffusion=2.0, bending=3.0, bending_step=step)
    diffusion = (prediction.jacobian(points) - identity).square().sum(dim=(1, 2)).mean()
    assert float(terms["diffusion"]) == pytest.approx(2 * float(diffusion), rel=1e-3)
    ahead, behind = (
        torch.stack([prediction.jacobian(points + sign * step * axis) for axis in identity], dim=-1) for sign in (1, -1)
    )
    hessian = (ahead - behind) / (2 * step)
    hessian = (hessian + hessian.transpose(-1, -2)) / 2
    assert float(terms["bending"]) == pytest.approx(3 * float(hessian.square().sum(dim=(1, 2, 3)).mean()), rel=1e-3)
    assert float(diffusion) > 1e-3


def test_a_mean_over_points_of_the_whole_grid_is_the_dense_one(prediction: Prediction) -> None:
    grid, batch = prediction.grid, prediction.batch
    centres = grid.voxel_centres().float().reshape(1, -1, grid.dimension)
    settings = replace(OBJECTIVE, similarity="mse", background_points=0)
    images = compared_images(batch, grid, settings)
    identity = DisplacementMaps(torch.zeros(1, grid.dimension, *grid.shape), grid)
    points = SamplePoints(centres, centres, centres[:, :0])
    term = loss_terms(MapPair(identity), images, points, settings)["similarity"]
    # Centres of the outermost voxels count as inside or outside by rounding.
    assert float(term) == pytest.approx(float((batch.fixed - batch.moving).square().mean()), rel=0.02)


def test_means_divide_by_the_mask(grid: Grid, images: Images) -> None:
    """A difference of 0.5 inside the mask and none outside is 0.25, however small the mask; and points obey it."""
    fixed = images[0][:1].expand(1, 1, *grid.shape)
    inside = torch.zeros_like(fixed)
    inside[(0, 0, *(slice(4, 8),) * grid.dimension)] = 1
    margin = torch.zeros_like(fixed)
    margin[(0, 0, *(slice(3, 9),) * grid.dimension)] = 1  # values between the voxels of the mask
    model = DisplacementUNet(DisplacementUNetSettings((4, 8)), grid, torch.Generator().manual_seed(0))
    batch = PairBatch(fixed, fixed + 0.5 * margin, inside, inside)
    settings = replace(OBJECTIVE, similarity="mse")
    maps = model(batch.fixed, batch.moving)
    own = [torch.Generator().manual_seed(0)]
    term = training_terms(maps, batch, grid, settings, own)["similarity"]
    assert float(term) == pytest.approx(0.25, rel=1e-4)
    whole = replace(batch, fixed_mask=None, moving_mask=None)
    assert float(training_terms(maps, whole, grid, settings, own)["similarity"]) < 0.15


@pytest.mark.parametrize("transform", ["displacement", "velocity"])
def test_landmarks_alone_train_the_network(transform: str, grid: Grid, images: Images) -> None:
    model = DisplacementUNet(
        DisplacementUNetSettings((4, 8), transform=transform), grid, torch.Generator().manual_seed(0)
    )
    marks = grid.centre_world().float() + torch.tensor([[[2.0, 0.0, 1.0], [-3.0, 1.0, 0.0]]])[..., : grid.dimension]
    batch = PairBatch(*(image[:1] for image in images), fixed_landmarks=marks, moving_landmarks=marks + 2.0)
    settings = replace(OBJECTIVE, similarity="mse", landmarks=1.0)
    optimizer, distances = torch.optim.Adam(model.parameters(), 1e-3), []
    for _ in range(15):
        maps = model(batch.fixed, batch.moving)
        term = training_terms(maps, batch, grid, settings, [torch.Generator().manual_seed(0)])["landmarks"]
        optimizer.zero_grad()
        term.backward()
        optimizer.step()
        distances.append(float(term.detach()))
    assert distances[0] == pytest.approx(2 * grid.dimension**0.5, rel=1e-3)
    assert distances[-1] < 0.5 * distances[0]
