"""Results are the same inside `no_grad`, `inference_mode` and `autocast` of the calling program."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

import nephi
from nephi.fields import FieldSettings
from nephi.geometry import Grid, gradients_recorded, recordable
from nephi.models import (
    EncoderSettings,
    InputSettings,
    NephiSettings,
    StoredModel,
    build_model,
    input_grid,
    write_model,
)
from nephi.settings import AffineSettings, FitObjectiveSettings, LevelSettings, Settings, TrainingObjectiveSettings
from nephi.transforms import AffineTransform

MODES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": partial(torch.autocast, "cpu", torch.bfloat16),
}
BRIEF = Settings(
    affine=AffineSettings(smoothing=(5.0,), steps=8, points=500),
    field=FieldSettings(spacings=(48.0, 24.0)),
    objective=FitObjectiveSettings(points=64, radius=1, regularization_points=32, background_points=16),
    levels=(LevelSettings(8, 3.0, 4.0), LevelSettings(8, 0.0, 3.0)),
)
VARIANTS = {
    "kernels": BRIEF,
    "sines": replace(BRIEF, field=FieldSettings(encoding="fourier", decoder="siren", global_codes=2)),
    "mind": replace(BRIEF, objective=replace(BRIEF.objective, similarity="mind", radius=2)),
    "match_intensities": replace(
        BRIEF,
        objective=replace(BRIEF.objective, similarity="nmi"),
        optimization=replace(BRIEF.optimization, match_intensities=True),
    ),
}
in_every_mode = pytest.mark.parametrize("mode", MODES)


@pytest.fixture(scope="module", params=[2, 3], ids=["2-D", "3-D"])
def pair(request: pytest.FixtureRequest) -> nephi.phantoms.PhantomPair:
    if request.param == 2:
        return nephi.phantoms.shapes_phantom(seed=1, motion=6.0, shape=(48, 40))
    return nephi.phantoms.lung_phantom(seed=1, motion=15.0, shape=(26, 20, 22))


@pytest.fixture(scope="module")
def files(pair: nephi.phantoms.PhantomPair, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("files")
    paths = folder / "fixed.nii.gz", folder / "moving.nii.gz"
    nephi.write_image(pair.fixed, paths[0])
    nephi.write_image(pair.moving, paths[1])
    return paths


def copy_of(image: nephi.Image) -> nephi.Image:
    """Return the same image, of tensors that are created in the current mode."""
    return nephi.Image(image.data.clone(), Grid(image.grid.shape, image.grid.affine.clone()))


def values(result: nephi.Registration, points: Tensor) -> list[Tensor]:
    found = [result.transform(points), result.inverse(points), *result.transform.value_and_jacobian(points)]
    return [each.detach() for each in found]


def assert_equal(found: nephi.Registration, expected: nephi.Registration, points: Tensor) -> None:
    for one, other in zip(values(found, points), values(expected, points), strict=True):
        assert torch.equal(one, other)
    assert found.history == expected.history


@in_every_mode
@pytest.mark.parametrize("variant", VARIANTS)
def test_register(pair: nephi.phantoms.PhantomPair, mode: str, variant: str) -> None:
    start = AffineTransform.translation(torch.full((pair.fixed.dimension,), 1.5, dtype=torch.float64))
    settings = VARIANTS[variant]
    expected = nephi.register(pair.fixed, pair.moving, settings=settings, fixed_mask=pair.fixed_mask, initial=start)
    with MODES[mode]():
        fixed, moving, mask = copy_of(pair.fixed), copy_of(pair.moving), copy_of(pair.fixed_mask)
        initial = AffineTransform(start.matrix.clone())
        found = nephi.register(fixed, moving, settings=settings, fixed_mask=mask, initial=initial)
        warped = found.warp(moving)
    assert torch.equal(warped.data, expected.warp(pair.moving).data)
    assert_equal(found, expected, pair.landmarks.fixed.coordinates[:40])


@in_every_mode
def test_images_and_transforms_read_in_a_mode_work_outside_of_it(
    files: tuple[Path, Path], mode: str, tmp_path: Path
) -> None:
    """Values that grids and images cache do not depend on the mode either."""
    expected = nephi.register(*files, settings=BRIEF)
    expected.save(tmp_path / "result")
    with MODES[mode]():
        fixed, moving = map(nephi.read_image, files)
        stored = nephi.read_transform(tmp_path / "result" / "transform.nephi")
        for image in (fixed, moving):
            image.grid.world_to_voxel_points(image.grid.centre_world())
            assert image.grid.spacing.min() > 0
    points = fixed.grid.voxel_centres().reshape(-1, fixed.dimension)[::97].double()
    assert_equal(nephi.register(fixed, moving, settings=BRIEF), expected, points)
    leaf = points.clone().requires_grad_()
    stored(leaf).square().sum().backward()
    assert leaf.grad is not None and bool(leaf.grad.isfinite().all())


@in_every_mode
@pytest.mark.parametrize("inverse", [False, True])
def test_transforms_are_applied_and_exported_equally(
    files: tuple[Path, Path], mode: str, inverse: bool, tmp_path: Path
) -> None:
    """Autocast would round positions of 100 mm to 1 mm."""
    result = nephi.register(*files, settings=BRIEF)
    transform = result.inverse if inverse else result.transform
    image = nephi.read_image(files[1])
    points = image.grid.corners_world().float()

    def results(path: Path) -> list[Tensor]:
        warped = nephi.resample(image, image.grid, transform).data
        nephi.export_transform(transform, image.grid, path)
        exported = nephi.read_transform(path)
        values = transform(points), *transform.value_and_jacobian(points), warped, exported(points)
        return [each.detach() for each in values]

    expected = results(tmp_path / "default.nii.gz")
    with MODES[mode]():
        in_mode = results(tmp_path / "mode.nii.gz")
    for one, other in zip(in_mode, expected, strict=True):
        assert torch.equal(one, other)


def small_model(dimension: int) -> StoredModel:
    box = InputSettings((16, 14, 12)[:dimension], (9.0, 9.0, 12.0)[:dimension])
    field = FieldSettings(spacings=(24.0, 12.0), hidden=8)
    settings = NephiSettings(field=field, encoder=EncoderSettings((4, 8), 1, 8))
    model = build_model(settings, input_grid(box), torch.Generator().manual_seed(5))
    return StoredModel(model, box, TrainingObjectiveSettings(), {"seed": 5})


@in_every_mode
@pytest.mark.parametrize("steps", [0, 5])
@pytest.mark.parametrize("by_file", [True, False], ids=["file", "object"])
def test_predict_and_refine(
    files: tuple[Path, Path], pair: nephi.phantoms.PhantomPair, mode: str, steps: int, by_file: bool, tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    reference = small_model(pair.fixed.dimension)
    write_model(reference, path)
    keywords = {"refinement": nephi.inference.Refinement(steps), "device": "cpu"}
    expected = nephi.predict(*files, model=reference, **keywords)
    with MODES[mode]():
        model = path if by_file else small_model(pair.fixed.dimension)
        found = nephi.predict(*files, model=model, **keywords)
    assert_equal(found, expected, pair.landmarks.fixed.coordinates[:40])


@in_every_mode
def test_the_mode_is_restored(mode: str) -> None:
    def state() -> tuple[bool, bool, bool]:
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")

    with MODES[mode]():
        before = state()
        with gradients_recorded():
            assert state() == (True, False, False)
        with pytest.raises(nephi.DataError):
            nephi.register("missing.nii.gz", "missing.nii.gz")
        assert state() == before


def test_only_inference_tensors_are_copied() -> None:
    ordinary = torch.zeros(3)
    assert recordable(ordinary) is ordinary
    with torch.inference_mode():
        inference = torch.ones(3)
        copied = recordable(inference)
    assert inference.is_inference() and not copied.is_inference() and torch.equal(copied, torch.ones(3))
