"""`register` and its result."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nephi.errors import DataError, UsageError
from nephi.fields import nephi_bytes, read_nephi
from nephi.geometry import Grid
from nephi.images import Image
from nephi.io import read_image, write_image
from nephi.optimize import register
from nephi.phantoms import PhantomPair
from nephi.results import Registration
from nephi.runtime import versions
from nephi.settings import Settings, in_millimetres, preset
from nephi.transforms import Composite

Change = Callable[..., Settings]


def test_same_seed_gives_the_same_bytes(shapes: PhantomPair, brief: Settings) -> None:
    results = [register(shapes.fixed, shapes.moving, settings=brief, seed=seed) for seed in (3, 3, 4)]
    first, again, other = (nephi_bytes(result.stored) for result in results)
    assert first == again != other
    # They differ in more than the stored seed.
    assert not torch.equal(results[0].stored.affine.matrix, results[2].stored.affine.matrix)
    assert results[0].history == results[1].history != results[2].history


def test_result_does_not_depend_on_global_state(shapes: PhantomPair, brief: Settings) -> None:
    """Neither on torch's global seed, nor on an earlier fit."""
    torch.manual_seed(1)
    first = nephi_bytes(register(shapes.fixed, shapes.moving, settings=brief).stored)
    state = torch.manual_seed(2).get_state()
    assert nephi_bytes(register(shapes.fixed, shapes.moving, settings=brief).stored) == first
    assert torch.equal(torch.get_rng_state(), state)


def test_result_does_not_depend_on_the_memory_order_of_voxels(shapes: PhantomPair, brief: Settings) -> None:
    """Except for rounding: smoothing filters the axes in their order in memory."""
    flipped = Image(shapes.fixed.data.T.contiguous().T, shapes.fixed.grid, name="other order")
    results = [register(fixed, shapes.moving, settings=brief) for fixed in (shapes.fixed, flipped)]
    points = shapes.fixed.grid.voxel_centres().reshape(-1, 2)
    torch.testing.assert_close(results[0].transform(points), results[1].transform(points), rtol=0, atol=0.02)


def test_inputs_and_torch_settings_are_unchanged(shapes: PhantomPair, brief: Settings) -> None:
    fixed, moving = shapes.fixed.data.clone(), shapes.moving.data.clone()
    threads = torch.get_num_threads()
    register(shapes.fixed, shapes.moving, settings=brief)
    assert torch.equal(shapes.fixed.data, fixed) and torch.equal(shapes.moving.data, moving)
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


def test_files_and_images_give_the_same_result(shapes: PhantomPair, brief: Settings, tmp_path: Path) -> None:
    paths = {}
    for name in ("fixed", "moving", "fixed_mask", "moving_mask"):
        paths[name] = tmp_path / f"{name}.nii.gz"
        write_image(getattr(shapes, name), paths[name])
    masks = {name: str(paths[name]) for name in ("fixed_mask", "moving_mask")}
    by_path = register(str(paths["fixed"]), paths["moving"], settings=brief, **masks)
    images = {name: read_image(path) for name, path in paths.items()}
    by_image = register(images.pop("fixed"), images.pop("moving"), settings=brief, **images)
    assert nephi_bytes(by_path.stored) == nephi_bytes(by_image.stored)


def test_images_of_other_libraries(shapes: PhantomPair, brief: Settings) -> None:
    fixed, moving = shapes.fixed.to_sitk(), shapes.moving.to_nibabel()
    pair = register(fixed, moving, settings=brief, fixed_mask=shapes.fixed_mask.to_sitk()).pair
    assert pair.fixed.name == "fixed" and pair.fixed.grid.same_as(shapes.fixed.grid, 1e-5)
    assert torch.equal(pair.moving.data, shapes.moving.data) and torch.equal(pair.fixed.data, shapes.fixed.data)
    assert pair.fixed_mask is not None and torch.equal(pair.fixed_mask.data > 0, shapes.fixed_mask.data > 0)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (np.zeros((2, 2)), r"numpy array, whose position is unknown; give nephi.Image.from_numpy"),
        (torch.zeros(2, 2, dtype=torch.float32), "tensor, whose position is unknown"),
        (None, "None"),
        ({}, "dict"),
    ],
)
def test_arrays_and_other_objects_are_refused(shapes: PhantomPair, brief: Settings, source: Any, found: str) -> None:
    with pytest.raises(UsageError, match=rf"^fixed: expected a path, a nephi\.Image, .* got (a )?{found}"):
        register(source, shapes.moving, settings=brief)
    with pytest.raises(UsageError, match=rf"^moving\[1\]: expected a path, a nephi\.Image, .* got (a )?{found}"):
        register([shapes.fixed, shapes.fixed], [shapes.moving, source], settings=brief)


def test_invalid_preset_device_or_image_is_refused(shapes: PhantomPair) -> None:
    with pytest.raises(UsageError, match=r"preset: expected one of .*generic.*, got 'liver'"):
        register(shapes.fixed, shapes.moving, preset="liver")
    with pytest.raises(UsageError, match=r"device: expected .*, got 'gpu'"):
        register(shapes.fixed, shapes.moving, device="gpu")
    with pytest.raises(DataError, match="expected lungs"):
        register(shapes.fixed, shapes.moving, preset="lung-ct")


def test_settings_are_kept_in_millimetres(shapes: PhantomPair, brief: Settings, changed: Change) -> None:
    settings = changed(brief, length_unit=0.0)
    result = register(shapes.fixed, shapes.moving, settings=settings)
    unit = 160 / 256  # the longest edge
    assert result.settings.length_unit == 1.0
    assert result.settings.field.spacings == pytest.approx([unit * s for s in settings.field.spacings])
    assert result.stored.settings["field"]["spacings"] == list(result.settings.field.spacings)
    again = register(shapes.fixed, shapes.moving, settings=result.settings)
    assert nephi_bytes(again.stored) == nephi_bytes(result.stored)


def test_result_scales_with_the_images(shapes: PhantomPair, brief: Settings, changed: Change) -> None:
    """With `length_unit = 0` settings are relative to the image size."""

    def scaled(image: Image, factor: float) -> Image:
        affine = image.grid.affine.clone()
        affine[:-1] *= factor
        return image.with_grid(Grid(image.grid.shape, affine))

    settings = changed(brief, length_unit=0.0, affine={"kind": "none"})
    points = shapes.landmarks.fixed.coordinates
    mapped = []
    for factor in (1.0, 2.0**-4, 2.0**4):
        pair = (scaled(i, factor) for i in (shapes.fixed, shapes.moving))
        result = register(*pair, settings=settings, initial="centers")
        mapped.append(result.transform(points * factor) / factor)
    for other in mapped[1:]:
        torch.testing.assert_close(other, mapped[0], rtol=0, atol=0.01)


def test_small_specimens_are_aligned_as_well_as_large_ones(shapes: PhantomPair, changed: Change) -> None:
    """A specimen of 1.6 mm in one corner of its image, by the generic preset's global alignment."""
    settings = changed(preset("generic"), transform="affine")
    truth = shapes.landmarks
    errors = []
    for factor in (1.0, 0.01):
        affines = [i.grid.affine.clone() for i in (shapes.fixed, shapes.moving)]
        data = torch.cat([shapes.moving.data, torch.zeros(70, shapes.moving.data.shape[1], dtype=torch.int16)])
        for affine in affines:
            affine[:-1] *= factor
        moving = Image(data, Grid(tuple(data.shape), affines[1]))
        fixed = Image(shapes.fixed.data, Grid(shapes.fixed.grid.shape, affines[0]))
        result = register(fixed, moving, settings=settings)
        points = result.transform(truth.fixed.coordinates * factor) / factor
        errors.append(float((points - truth.moving.coordinates).norm(dim=-1).mean()))
    assert max(errors) < 2.5


def test_warp_resamples_the_moving_image_on_the_fixed_grid(fitted: Registration, shapes: PhantomPair) -> None:
    warped = fitted.warp(shapes.moving)
    assert warped.grid is shapes.fixed.grid and warped.data.dtype == torch.int16
    inside = shapes.fixed_mask.data > 0

    def difference(image: Image) -> float:
        return float((image.data.float() - shapes.fixed.data.float())[inside].abs().mean())

    before = fitted.stored.affine
    from nephi.images import resample

    assert difference(warped) < 0.5 * difference(resample(shapes.moving, shapes.fixed.grid, before))
    assert difference(warped) < 25  # noise of 10 in both images, and a texture of 50


def test_value_outside_the_image_is_that_of_the_settings(shapes: PhantomPair, brief: Settings, changed: Change) -> None:
    small = Image(shapes.moving.data[30:60, 30:60].clone(), Grid((30, 30), shapes.moving.grid.affine), name="small")
    small = small.with_grid(Grid((30, 30), _cropped(shapes.moving.grid, 30)))
    settings = changed(brief, image={"outside": -77.0})
    result = register(shapes.fixed, shapes.moving, settings=settings)
    corner = result.warp(small).data[0, 0]
    assert corner == -77
    assert result.warp(small, outside=5.0).data[0, 0] == 5
    assert result.warp(small, "bspline").data[0, 0] == -77
    for interpolation in ("nearest", "label"):  # no new label
        labels = result.warp(small, interpolation)
        assert labels.data.dtype == torch.int16 and labels.data[0, 0] == 0
        assert result.warp(small, interpolation, outside=5.0).data[0, 0] == 5


def _cropped(grid: Grid, first: int) -> torch.Tensor:
    affine = grid.affine.clone()
    affine[:-1, -1] = grid.voxel_to_world_points(torch.full((grid.dimension,), float(first)).double())
    return affine


def test_warping_labels_adds_no_label(fitted: Registration, shapes: PhantomPair) -> None:
    points = shapes.moving.grid.voxel_centres()
    sectors = 3 + 4 * (points[..., 0] > 0) + 10 * (points[..., 1] > 0)
    labels = Image((sectors * (shapes.moving_mask.data > 0)).to(torch.uint8), shapes.moving.grid)
    warped = fitted.warp(labels, "label")
    assert set(warped.data.unique().tolist()) == {0, 3, 7, 13, 17}


def test_transform_and_inverse_equal_those_of_the_file(fitted: Registration, saved: Path, shapes: PhantomPair) -> None:
    stored = read_nephi(saved / "transform.nephi")
    points = shapes.landmarks.fixed.coordinates
    assert torch.equal(stored.transform(points), fitted.transform(points))
    assert torch.equal(stored.inverse(points), fitted.inverse(points))
    assert isinstance(fitted.transform, Composite)


def test_result_records_seed_device_versions_and_times(fitted: Registration) -> None:
    about = fitted.stored.about
    assert about["seed"] == 0 and about["device"] == "cpu"
    assert about["versions"] == versions()
    assert set(versions()) == {"nephi", "torch", "numpy", "python"}
    assert set(fitted.usage.stages) >= {"prepare", "affine", "fit"}
    assert all(seconds >= 0 for stage in fitted.usage.stages.values() for seconds in stage.values())


def test_thin_and_tiny_images_can_be_registered(brief: Settings) -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 3), (40, 5), (16, 16, 2), (6, 5, 4)):
        data = torch.rand(shape, generator=generator)
        image = Image(data, Grid.from_spacing(shape, [2.0] * len(shape)))
        result = register(image, image, settings=brief)
        assert bool(torch.isfinite(result.warp(image).data).all())


def test_preset_with_changed_tables(shapes: PhantomPair, changed: Change, brief: Settings) -> None:
    settings = changed(preset("generic"), levels=brief.levels, affine={"steps": 3})
    result = register(shapes.fixed, shapes.moving, settings=settings)
    assert result.settings.objective == in_millimetres(settings, shapes.fixed.grid).objective
