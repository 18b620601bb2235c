"""Parts of a training without Fabric: learning rate, random generators, augmentation, cache, tables."""

import copy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import nephi
from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.training import AugmentationSettings, OptimizationSettings, TrainSettings, WarpSettings
from nephi.training.augmentation import TrainingImage, augment
from nephi.training.cache import ModelInputCache
from nephi.training.identity import check_identity
from nephi.training.log import CsvTable
from nephi.training.pairs import BatchKeys, TrainingPairs
from nephi.training.random_maps import random_map
from nephi.training.seeding import SampleKey, generator_of
from nephi.training.settings_file import result_settings
from nephi.training.step import learning_rate

from .conftest import with_loop

STRONG = AugmentationSettings(
    flip=True,
    permute=True,
    rotation=30.0,
    scale=0.2,
    shear=0.2,
    shift=2.0,
    gamma=0.3,
    contrast=0.3,
    brightness=0.2,
    noise=0.1,
)


def augmented(
    fixed: TrainingImage, moving: TrainingImage, grid: Grid, settings: AugmentationSettings, seed: int
) -> tuple[TrainingImage, TrainingImage]:
    return augment(fixed, moving, grid, settings, *(generator_of(each, seed) for each in ("augment", "both")))


def test_the_step_size_warms_up_and_falls() -> None:
    loop = OptimizationSettings(steps=100, rate=1e-3, warmup=0.1)
    rates = [learning_rate(step, loop) for step in range(100)]
    assert rates[:10] == pytest.approx([1e-4 * (k + 1) for k in range(10)])
    assert rates[10] == 1e-3 and rates[55] == pytest.approx(5e-4) and rates[-1] < 1e-6
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert learning_rate(80, replace(loop, decay=False)) == 1e-3
    assert learning_rate(0, replace(loop, warmup=0.0)) == 1e-3


def test_random_numbers_depend_on_key_and_purpose() -> None:
    keys = [("pair", 0, 0, 0), ("points", 0, 0, 0), ("pair", 1, 0, 0), ("pair", 0, 1, 0), ("pair", 0, 0, 1)]
    numbers = [float(torch.rand(1, generator=generator_of(*key))) for key in keys]
    assert len(set(numbers)) == len(keys)
    assert numbers == [float(torch.rand(1, generator=generator_of(*key))) for key in keys]


def test_a_step_has_the_same_keys_however_it_is_distributed(settings: TrainSettings) -> None:
    def keys_of_steps(batch: int, accumulate: int, processes: int) -> list[set[SampleKey]]:
        loop = with_loop(settings, batch=batch, accumulate=accumulate, steps=7)
        keys: dict[int, list[SampleKey]] = {}
        for process in range(processes):
            for batch_keys in BatchKeys(loop, 5, process, processes):
                for key in batch_keys:
                    keys.setdefault(key.step, []).append(key)
        assert all(len(each) == len(set(each)) for each in keys.values())
        return [set(keys[step]) for step in sorted(keys)]

    assert keys_of_steps(8, 1, 1) == keys_of_steps(2, 4, 1) == keys_of_steps(2, 1, 4) == keys_of_steps(2, 2, 2)
    assert len(keys_of_steps(8, 1, 1)) == 2


def test_every_pair_is_sampled(shapes: Path, settings: TrainSettings) -> None:
    index = nephi.datasets.read_dataset_index(shapes)
    pairs = TrainingPairs(index, settings, ModelInputCache(index, settings.input, 0))
    sampled = [pairs.pair(SampleKey(step, 0)) for step in range(200)]
    assert set(sampled) == set(index.pairs("train"))


@pytest.mark.parametrize("d", [2, 3])
def test_augmentation(d: int) -> None:
    shape = (12, 10, 8)[:d]
    grid = Grid.from_spacing(shape, (1.0, 2.0, 3.0)[:d])
    images = [TrainingImage(torch.rand(1, *shape, generator=generator_of("test", k))) for k in range(2)]
    same = augmented(*images, grid, AugmentationSettings(), 0)
    assert all(torch.equal(a.values, b.values) for a, b in zip(images, same, strict=True))
    first, again, other = (augmented(*images, grid, STRONG, seed) for seed in (0, 0, 1))
    assert all(torch.equal(a.values, b.values) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0].values, other[0].values)
    for image, *_ in first:
        assert image.shape == (1, *shape) and float(image.min()) >= 0 and float(image.max()) <= 1


def test_both_images_have_the_same_axes_permuted_and_mirrored() -> None:
    """With isotropic voxels nothing is interpolated, and no value is lost."""
    grid = Grid.from_spacing((9, 9, 9), (2.0, 2.0, 2.0))
    image = torch.rand(1, 9, 9, 9, generator=generator_of("test", 0))
    values = set()
    for seed in range(40):
        (one, *_), (other, *_) = augmented(
            TrainingImage(image), TrainingImage(image + 1), grid, AugmentationSettings(flip=True, permute=True), seed
        )
        torch.testing.assert_close(one + 1, other, atol=1e-5, rtol=0)
        torch.testing.assert_close(one.flatten().sort()[0], image.flatten().sort()[0], atol=1e-4, rtol=0)
        values.add(tuple(one[0, 0, 0].tolist()))
    assert len(values) > 15


@pytest.mark.parametrize("d", [2, 3])
def test_keypoints_move_as_landmarks_do(d: int) -> None:
    shape = (12, 10, 8)[:d]
    points = 8 * torch.rand(5, d, generator=generator_of("test", 1))
    image = TrainingImage(torch.rand(1, *shape, generator=generator_of("test", 0)), landmarks=points, keypoints=points)
    for each in augmented(image, image, Grid.from_spacing(shape, (1.0, 2.0, 3.0)[:d]), STRONG, 0):
        assert each.landmarks is not None and each.keypoints is not None
        assert torch.equal(each.landmarks, each.keypoints) and not torch.allclose(each.keypoints, points, atol=0.1)


def test_each_image_has_its_own_affine_map() -> None:
    grid = Grid.from_spacing((41, 41), (1.0, 1.0))
    distance = (grid.voxel_centres() - grid.centre_world()).norm(dim=-1)
    image = (distance < 10).float()[None]
    original = TrainingImage(image)
    shifted = AugmentationSettings(shift=5.0)
    (first, *_), (second, *_) = augmented(original, original, grid, shifted, 3)
    assert not torch.allclose(first, second)
    for each in (first, second):
        assert float(each.sum()) == pytest.approx(float(image.sum()), rel=0.02)  # moved, not cut
    sizes = [
        float(augmented(original, original, grid, AugmentationSettings(scale=0.5), k)[0].values.sum())
        for k in range(30)
    ]
    assert min(sizes) < 0.7 * float(image.sum()) and max(sizes) > 1.3 * float(image.sum())


@pytest.mark.parametrize("d", [2, 3])
def test_masks_and_landmarks_are_mapped_with_their_image(d: int) -> None:
    """A bright ball around each landmark stays around it; the value outside the box is `outside`."""
    grid = Grid.from_spacing((48,) * d, (1.0,) * d)
    landmark = grid.centre_world() + torch.tensor([8.0, -5.0, 3.0][:d])
    ball = ((grid.voxel_centres() - landmark).norm(dim=-1) < 4)[None]
    labels = ball * 2**40 + (grid.voxel_centres()[..., 0] > 30) * 3
    original = TrainingImage(ball.float(), ball.to(torch.uint8), landmark[None].float(), 1.0, labels)
    strong = AugmentationSettings(
        flip=True, permute=True, rotation=30, scale=0.2, shear=0.2, shift=3, elastic=1.5, elastic_spacing=16.0,
        both=WarpSettings(rotation=20, scale=0.1, shear=0.1, shift=2, elastic=1.0, elastic_spacing=12.0),
    )  # fmt: skip
    corners: list[float] = []
    for seed in range(5):
        for values, mask, landmarks, _, moved, _ in augmented(original, original, grid, strong, seed):
            assert moved is not None and moved.dtype == torch.int64 and moved.shape == mask.shape
            assert set(moved.unique().tolist()) <= {0, 3, 2**40, 2**40 + 3}
            assert ((moved >= 2**40) == (mask > 0)).float().mean() > 0.99  # linear and nearest differ at the surface
            voxel = grid.world_to_voxel_points(landmarks[0].double()).round().long().tolist()
            assert mask[(0, *voxel)] == 1 and values[(0, *voxel)] > 0.9
            assert float(landmarks[0].double().dist(grid.centre_world())) > 3
            inner = grid.voxel_centres()[mask[0] > 0].double().mean(dim=0)
            torch.testing.assert_close(inner, landmarks[0].double(), atol=0.5, rtol=0)
            corners.append(float(values[(0,) * (d + 1)]))
    assert min(corners) < 1e-6 and max(corners) > 1 - 1e-6  # inside the original image, and outside


def test_a_shared_map_keeps_equal_images_equal() -> None:
    """It changes the anatomy, not the motion; maps of their own make them differ."""
    grid = Grid.from_spacing((40, 32), (1.0, 1.5))
    image = torch.rand(1, 5, 4, generator=torch.Generator().manual_seed(0))
    original = TrainingImage(torch.nn.functional.interpolate(image[None], size=grid.shape, mode="bilinear")[0])
    shared = WarpSettings(rotation=20, scale=0.2, shear=0.1, shift=3, elastic=2.0, elastic_spacing=20.0)
    for shift in (0.0, 2.0):
        settings = AugmentationSettings(both=shared, shift=shift)
        fixed, moving = augmented(original, original, grid, settings, 1)
        assert torch.equal(fixed.values, moving.values) == (shift == 0)
        assert not torch.allclose(fixed.values, original.values, atol=0.05)


@pytest.mark.parametrize("d", [2, 3])
def test_rotations_have_any_angle(d: int) -> None:
    """About axes that are uniform on the sphere, by angles that are uniform."""
    grid = Grid.from_spacing((8,) * d, (1.0,) * d)
    settings, generator = WarpSettings(rotation=180.0), torch.Generator().manual_seed(0)
    matrices = torch.stack([random_map(grid, settings, generator).matrix for _ in range(2000)])
    identity = torch.eye(d, dtype=torch.float64).expand_as(matrices)
    torch.testing.assert_close(matrices @ matrices.mT, identity)
    torch.testing.assert_close(torch.linalg.det(matrices), torch.ones(2000, dtype=torch.float64))
    angles = torch.acos(((matrices.diagonal(dim1=1, dim2=2).sum(dim=1) - (d - 2)) / 2).clamp(-1, 1)).rad2deg()
    for quantile in (0.25, 0.5, 0.75):
        assert float(angles.quantile(quantile)) == pytest.approx(180 * quantile, abs=8)
    with pytest.raises(UsageError, match=r"^augmentation\.both\.rotation: expected at most 180, got 181"):
        WarpSettings(rotation=181.0)


def test_only_the_moving_image_is_changed_by_a_map_of_its_own() -> None:
    """With the random numbers that it has where each image is changed; the shared map still changes both."""
    grid = Grid.from_spacing((20, 16), (1.0, 1.0))
    images = [TrainingImage(torch.rand(1, *grid.shape, generator=generator_of("test", k))) for k in range(2)]
    each = replace(STRONG, flip=False, permute=False, noise=0.0, elastic=1.0, elastic_spacing=12.0)
    moving = replace(each, images="moving")
    expected, found = (augmented(*images, grid, settings, 0) for settings in (each, moving))
    assert torch.equal(found[0].values, images[0].values) and torch.equal(found[1].values, expected[1].values)
    both = replace(moving, both=WarpSettings(shift=2.0))
    assert not torch.equal(augmented(*images, grid, both, 0)[0].values, images[0].values)
    with pytest.raises(UsageError, match=r"^augmentation\.images: expected one of each, moving, got 'fixed'"):
        replace(each, images="fixed")


def test_maps_grow_over_the_first_steps() -> None:
    settings = replace(STRONG, ramp=0.5, elastic=2.0, both=WarpSettings(shift=4.0, rotation=90.0))
    start, middle = settings.at(0.0), settings.at(0.125)
    assert start.moving_parts() == ["flip", "permute"]
    assert (middle.rotation, middle.elastic, middle.both.rotation, middle.both.shift) == (7.5, 0.5, 22.5, 1.0)
    assert (middle.gamma, middle.noise, middle.elastic_spacing) == (0.3, 0.1, 60.0)
    assert settings.at(0.5) is settings and settings.at(1.0) is settings and STRONG.at(0.0) is STRONG
    with pytest.raises(UsageError, match=r"^augmentation\.ramp: expected a fraction of the steps from 0 to 1, got 2"):
        replace(settings, ramp=2.0)


def test_labels_are_read_on_the_grid_of_the_model(shapes: Path, settings: TrainSettings) -> None:
    index = nephi.datasets.read_dataset_index(shapes)
    for limit in (0, 1e6):
        cache = ModelInputCache(index, settings.input, limit)
        labels = cache.labels("s0")
        stored = nephi.read_image(index.path("labels/s0.nii.gz")).data
        assert labels is not None and labels.dtype == torch.int64 and torch.equal(labels[0], stored.long())
        assert (cache.labels("s0") is labels) == (limit > 0)
    bare = replace(index, images=tuple(replace(image, labels=None) for image in index.images))
    assert ModelInputCache(bare, settings.input, 1e6).labels("s0") is None


def test_the_cache_is_bounded(shapes: Path, settings: TrainSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(path: Path) -> nephi.Image:
        read.append(path.name)
        return nephi.read_image(path)

    monkeypatch.setattr("nephi.training.cache.read_image", counted)
    cache = ModelInputCache(nephi.datasets.read_dataset_index(shapes), settings.input, limit=2 * 24 * 24 * 4)
    for id in ("s0", "s1", "s0", "s2", "s0", "s1"):  # s2 takes the place of s1, which was used longer ago than s0
        assert cache[id].values.shape == (1, 24, 24)
    assert read == [f"s{k}.nii.gz" for k in (0, 1, 2, 1)]
    none = ModelInputCache(nephi.datasets.read_dataset_index(shapes), settings.input, limit=0)
    assert torch.equal(none["s0"].values, cache["s0"].values)


def test_a_table_is_truncated_to_its_saved_length(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    table = CsvTable(path, 0)
    table.add({"step": 1, "loss": 0.5})
    kept = table.length()
    table.add({"step": 2, "loss": 0.25})
    table.close()
    path.write_bytes(path.read_bytes()[:-3])  # killed during a write
    table = CsvTable(path, kept)
    table.add({"step": 2, "loss": 0.25})
    table.add({"step": 3})
    table.close()
    assert path.read_text(encoding="utf-8") == "step,loss\n1,0.5\n2,0.25\n3,\n"
    with pytest.raises(DataError, match="expected the 100 bytes it had when the state was saved, got 26"):
        CsvTable(path, 100)


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("optimization", {"steps": 0}, "optimization.steps: expected 1 or more, got 0"),
        ("optimization", {"cache": -1}, "optimization.cache: expected 0 or more, got -1"),
        ("optimization", {"rate": 0.0}, "optimization.rate: expected more than 0"),
        ("optimization", {"warmup": 1.5}, "optimization.warmup: expected a fraction of the steps from 0 to 1, got 1.5"),
        ("optimization", {"precision": "8"}, r"n\.precision: expected one of 32, bf16-mixed, 16-mixed, got '8'"),
        ("augmentation", {"noise": -0.1}, "augmentation.noise: expected 0 or more, got -0.1"),
        ("augmentation", {"shear": 1.0}, "augmentation.shear: expected a number below 1, got 1.0"),
        ("augmentation", {"both": WarpSettings(elastic=7.0), "elastic": 7.0}, r"n\.elastic: expected a\^2 \+ b\^2"),
    ],
)
def test_settings_out_of_range(settings: TrainSettings, table: str, change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(getattr(settings, table), **change)


def test_a_run_is_resumed_after_a_setting_was_added() -> None:
    settings = TrainSettings(augmentation=AugmentationSettings(scale=0.1))
    run = {"settings": result_settings(settings), "data": "", "start": "", "processes": 1}
    saved = copy.deepcopy(run)
    del saved["settings"]["augmentation"]["both"]
    check_identity(saved, run)
    run["settings"]["augmentation"]["both"]["scale"] = 0.2
    with pytest.raises(UsageError, match=r"augmentation\.both\.scale: the run was started with 0\.0, the conf"):
        check_identity(saved, run)
