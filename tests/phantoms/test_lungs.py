"""Test motion, images, masks and landmarks of the lung phantom."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid, determinant
from nephi.images import Image, find_lungs, resample
from nephi.phantoms import Breathing, PhantomPair, lung_phantom
from nephi.transforms import Transform

SMALL = (34, 26, 30)


def displacements_and_determinants(pair: PhantomPair) -> tuple[Tensor, Tensor, Tensor]:
    points = pair.fixed.grid.voxel_centres()
    displaced, jacobian = pair.transform.value_and_jacobian(points)
    return (displaced - points).norm(dim=-1), determinant(jacobian), pair.fixed_mask.data > 0


def cube_around(point: Tensor, count: int, spacing: float) -> Grid:
    corner = point - spacing * (count - 1) / 2
    return Grid.from_spacing((count,) * 3, (spacing,) * 3, corner.tolist())


@pytest.mark.parametrize(("name", "motion"), [("lungs_25", 25.0), ("lungs_60", 60.0)])
def test_motion_has_the_given_size_compresses_locally_and_never_folds(
    name: str, motion: float, request: pytest.FixtureRequest
) -> None:
    displacements, determinants, lungs = displacements_and_determinants(request.getfixturevalue(name))
    assert displacements[lungs].max() == pytest.approx(motion, rel=0.01)
    assert 0.3 < determinants[lungs].min() < 0.5
    assert determinants.min() > 0.2


def without_waves(transform: Transform) -> Breathing:
    assert isinstance(transform, Breathing)
    return replace(transform, local=replace(transform.local, amplitude=0.0))


def test_breathing_without_waves_compresses_little(lungs_60: PhantomPair) -> None:
    breathing = replace(lungs_60, transform=without_waves(lungs_60.transform))
    _, determinants, lungs = displacements_and_determinants(breathing)
    assert determinants.min() > 0.5
    assert determinants[lungs].mean() < 0.9


def test_local_motion_has_the_given_size() -> None:
    transform = lung_phantom(0, 40.0, local=0.3, shape=SMALL).transform
    assert isinstance(transform, Breathing)
    points = cube_around(torch.tensor([60.0, 0.0, -40.0]), 60, 3.0).voxel_centres()
    assert (transform.local(points) - points).norm(dim=-1).max() == pytest.approx(0.3, rel=0.05)


def test_images_are_ct_on_different_grids_that_contain_the_lungs(lungs_25: PhantomPair) -> None:
    fixed, moving = lungs_25.fixed, lungs_25.moving
    assert fixed.data.dtype == moving.data.dtype == torch.int16
    assert 1_000_000 < fixed.grid.size < 1_500_000 and 1_000_000 < moving.grid.size < 1_500_000
    assert fixed.grid.shape != moving.grid.shape
    assert (fixed.grid.spacing.sort().values - moving.grid.spacing.sort().values).abs().min() > 0.01
    off_axis = moving.grid.direction.abs()
    assert off_axis.amax(dim=0).max() < 0.999  # oblique
    assert off_axis.argmax(dim=0).tolist() == [1, 2, 0]  # permuted
    for mask in (lungs_25.fixed_mask, lungs_25.moving_mask):
        for axis in range(3):
            edges = mask.data.movedim(axis, 0)[[0, 1, -2, -1]]
            assert edges.sum() == 0


def test_masks_cover_the_lungs(lungs_25: PhantomPair) -> None:
    for image, mask in ((lungs_25.fixed, lungs_25.fixed_mask), (lungs_25.moving, lungs_25.moving_mask)):
        inside, outside = image.data[mask.data > 0].float(), image.data[mask.data == 0].float()
        assert mask.data.dtype == torch.uint8 and mask.grid.same_as(image.grid)
        assert -880 < inside.median() < -740
        assert (inside > -300).float().mean() < 0.15  # vessels
        assert (inside > -600).float().mean() > 0.05
        assert ((outside > -1100) & (outside < -900) | (outside > -250)).float().mean() > 0.95  # air or tissue
        segmented = resample(find_lungs(image), image.grid, lambda x: x, "nearest").data > 0
        overlap = 2 * (segmented & (mask.data > 0)).sum() / (segmented.sum() + mask.data.sum())
        assert overlap > 0.95


def test_the_warped_moving_image_equals_the_fixed_image(exact_lungs: PhantomPair) -> None:
    pair = exact_lungs
    lungs = pair.fixed_mask.data > 0

    def difference(image: Image) -> float:
        return float((image.data.float() - pair.fixed.data.float())[lungs].abs().mean())

    warped = resample(pair.moving, pair.fixed.grid, pair.transform, outside=-1000.0)
    unregistered = resample(pair.moving, pair.fixed.grid, lambda x: x, outside=-1000.0)
    coarse = resample(pair.moving, pair.fixed.grid, without_waves(pair.transform), outside=-1000.0)
    assert difference(warped) < 50
    assert difference(coarse) > 1.15 * difference(warped)
    assert difference(unregistered) > 3 * difference(warped)


def test_with_fine_voxels_the_images_agree_up_to_interpolation(exact_lungs: PhantomPair) -> None:
    spot = exact_lungs.landmarks.fixed.coordinates[7]
    fine = lung_phantom(
        seed=3,
        motion=20.0,
        noise=0.0,
        density=0.0,
        fixed_grid=cube_around(spot, 12, 1.0),
        moving_grid=cube_around(exact_lungs.transform(spot), 60, 0.4),
    )
    warped = resample(fine.moving, fine.fixed.grid, fine.transform)
    error = (warped.data - fine.fixed.data).float().abs()
    assert fine.fixed.data.float().std() > 30
    assert error.mean() < 3 and error.max() < 15


def test_vessels_fill_the_lungs(exact_lungs: PhantomPair) -> None:
    from scipy import ndimage

    image, mask = exact_lungs.moving, exact_lungs.moving_mask.data > 0
    distance = ndimage.distance_transform_edt((image.data < -600).numpy(), sampling=image.grid.spacing.tolist())
    gaps = torch.from_numpy(distance)[mask]
    assert gaps.median() > 2  # vessels are separate
    assert gaps.quantile(0.99) < 15


def test_lung_tissue_darkens_as_it_expands(exact_lungs: PhantomPair) -> None:
    spot = torch.tensor([62.0, 5.0, -70.0], dtype=torch.float64)
    grids = {"fixed_grid": cube_around(spot, 20, 1.5), "moving_grid": cube_around(spot, 20, 1.5)}
    constant, once, twice = (lung_phantom(3, 60.0, noise=0.0, density=d, **grids) for d in (0.0, 1.0, 2.0))
    jacobian = without_waves(constant.transform).value_and_jacobian(constant.fixed.grid.voxel_centres())[1]
    volume = determinant(jacobian)
    # HU = -1000 + (1 - vessel) tissue volume^density + vessel blood: vessels cancel in differences.
    first, second = ((image.fixed.data - constant.fixed.data).float() for image in (once, twice))
    tissue = first < -15
    assert tissue.float().mean() > 0.5
    torch.testing.assert_close((second / first)[tissue], 1 + volume[tissue], rtol=0, atol=0.1)
    dark = constant.fixed.data < -850
    assert ((once.fixed.data + 1000.0) / (constant.fixed.data + 1000.0))[dark].mean() < 0.9
    assert torch.equal(constant.moving.data, twice.moving.data)


def test_lung_tissue_and_vessels_have_the_given_density_and_thickness() -> None:
    spot = cube_around(torch.tensor([62.0, 5.0, -40.0]), 20, 1.5)  # within the right lung
    grids = {"fixed_grid": spot, "moving_grid": spot, "noise": 0.0}
    bare, dark, thin, thick = (
        lung_phantom(3, tissue=tissue, vessels=vessels, **grids).moving.data.float()
        for tissue, vessels in ((-840.0, 0.0), (-920.0, 0.0), (-840.0, 0.5), (-840.0, 1.0))
    )
    assert bare.mean() == pytest.approx(-840, abs=15) and bare.std() < 60
    assert ((bare - dark) - 80).abs().max() <= 1
    fractions = [(image > -600).float().mean() for image in (bare, thin, thick)]
    assert fractions[0] == 0 < fractions[1] < 0.5 * fractions[2]


@pytest.mark.parametrize("arguments", [{"vessels": -0.1}, {"tissue": -1001.0}, {"tissue": 50.0}])
def test_vessels_and_tissue_out_of_range_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(arguments))}: expected"):
        lung_phantom(0, **arguments)


def test_noise_has_the_given_size_and_differs_between_the_images() -> None:
    air = cube_around(torch.tensor([400.0, 0.0, 0.0]), 30, 2.0)
    pair = lung_phantom(
        0, noise=35.0, fixed_grid=cube_around(torch.tensor([0.0, 0.0, -20.0]), 30, 9.0), moving_grid=air
    )
    assert pair.moving.data.float().std() == pytest.approx(35.0, rel=0.03)
    assert pair.moving.data.float().mean() == pytest.approx(-1000.0, abs=1)
    noises = [(pair.fixed.data[:5].float() + 1000).flatten(), (pair.moving.data[:5].float() + 1000).flatten()]
    air_voxels = noises[0].abs() < 150  # the fixed image also shows some body
    assert air_voxels.sum() > 200
    assert torch.corrcoef(torch.stack([n[air_voxels] for n in noises]))[0, 1].abs() < 0.2


def test_equal_seeds_yield_equal_phantoms_and_other_seeds_others() -> None:
    one, again, other = (lung_phantom(seed, shape=SMALL) for seed in (5, 5, 6))
    points = one.landmarks.fixed.coordinates
    assert torch.equal(one.fixed.data, again.fixed.data) and torch.equal(one.moving.data, again.moving.data)
    assert torch.equal(points, again.landmarks.fixed.coordinates)
    assert torch.equal(one.transform(points), again.transform(points))
    assert not torch.equal(one.moving.data, other.moving.data)
    assert (one.transform(points) - other.transform(points)).norm(dim=-1).mean() > 0.1


def test_landmarks_lie_in_the_lungs_and_are_mapped_exactly(lungs_60: PhantomPair) -> None:
    pairs = lungs_60.landmarks
    assert len(pairs) == 300
    assert torch.equal(lungs_60.transform(pairs.fixed.coordinates), pairs.moving.coordinates)
    for mask, points in ((lungs_60.fixed_mask, pairs.fixed), (lungs_60.moving_mask, pairs.moving)):
        voxel = mask.grid.world_to_voxel_points(points.coordinates).round().long()
        inside = mask.data[tuple(voxel.T)] > 0
        assert inside.float().mean() > 0.95
    voxel = lungs_60.fixed.grid.world_to_voxel_points(pairs.fixed.coordinates)
    assert (voxel - voxel.round()).abs().mean() == pytest.approx(0.25, abs=0.03)  # uniform between voxel centres
    assert (pairs.fixed.coordinates - pairs.moving.coordinates).norm(dim=-1).mean() > 10
