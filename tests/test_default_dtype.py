"""Results do not depend on torch's default dtype, which the calling program may have changed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

import nephi
from nephi.fields import FieldSettings
from nephi.models import (
    AutoDecoderSettings,
    DisplacementUNetSettings,
    EncoderSettings,
    InputSettings,
    ModelSettings,
    NephiSettings,
    StoredModel,
    build_model,
    input_grid,
    write_model,
)
from nephi.settings import AffineSettings, FitObjectiveSettings, LevelSettings, Settings, TrainingObjectiveSettings

SOURCES = str(Path(nephi.__file__).parent)
DEFAULTS = [torch.float64, torch.float16, torch.bfloat16]
LEVELS = (LevelSettings(8, 3.0, 4.0), LevelSettings(8, 0.0, 3.0))
BRIEF = Settings(
    affine=AffineSettings(smoothing=(5.0,), steps=8, points=500, rotations=3),
    field=FieldSettings(spacings=(48.0, 24.0)),
    objective=FitObjectiveSettings(points=64, radius=1, regularization_points=32, background_points=16),
    levels=LEVELS,
)
VARIANTS = {  # all encodings, similarities and kinds of settings of a fit
    "kernels": BRIEF,
    "match_intensities": replace(
        BRIEF,
        objective=replace(BRIEF.objective, similarity="nmi", radius=0),
        optimization=replace(BRIEF.optimization, match_intensities=True),
    ),
    "mind": replace(
        BRIEF,
        objective=replace(BRIEF.objective, similarity="mind", radius=2),
        affine=replace(BRIEF.affine, kind="rigid"),
    ),
    "fourier": replace(BRIEF, field=FieldSettings(encoding="fourier", decoder="siren", global_codes=2)),
    "codes": replace(BRIEF, field=FieldSettings(encoding="hash", decoder="gated-sine", local_codes=2)),
}


class DefaultDtypeGuard(TorchFunctionMode):
    """Fail if a call of torch in nephi returns a tensor of the default dtype, bfloat16, without such an input.

    nephi does not use bfloat16, so the type of such a tensor is the default.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if _has_default(result) and not _has_default([*args, *(kwargs or {}).values()]):
            frame = sys._getframe(1)
            while frame is not None and not frame.f_code.co_filename.startswith(SOURCES):
                frame = frame.f_back  # type: ignore[assignment]
            location = "outside of nephi" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
            raise AssertionError(f"{location}: {function} takes its type from the default dtype")
        return result


def _has_default(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_has_default, value))
    return isinstance(value, Tensor) and value.dtype == torch.bfloat16


@pytest.fixture(params=DEFAULTS, ids=str)
def under_default(request: pytest.FixtureRequest) -> Iterator[torch.dtype]:
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def guarded() -> Iterator[None]:
    torch.set_default_dtype(torch.bfloat16)
    try:
        with DefaultDtypeGuard():
            yield
    finally:
        torch.set_default_dtype(torch.float32)


class Case(NamedTuple):
    """A pair in files, and its registration with the normal default dtype."""

    folder: Path
    points: Tensor
    result: nephi.Registration


def _case(folder: Path, pair: nephi.phantoms.PhantomPair) -> Case:
    for name in ("fixed", "moving"):
        nephi.write_image(getattr(pair, name), folder / f"{name}.nii.gz")
    result = nephi.register(folder / "fixed.nii.gz", folder / "moving.nii.gz", settings=BRIEF)
    result.save(folder / "result")
    return Case(folder, pair.landmarks.fixed.coordinates[:50], result)


@pytest.fixture(scope="module", params=["2-D", "3-D"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    pair = _pair(request.param)
    return _case(tmp_path_factory.mktemp(request.param), pair)


def _pair(dimension: str) -> nephi.phantoms.PhantomPair:
    if dimension == "2-D":
        return nephi.phantoms.shapes_phantom(seed=1, motion=6.0, shape=(48, 40))
    return nephi.phantoms.lung_phantom(seed=1, motion=15.0, shape=(26, 20, 22))


def _values(transform: nephi.Transform, points: Tensor) -> list[Tensor]:
    found = [transform(points), transform(points.float())]
    found += [each for p in (points, points.float()) for each in transform.value_and_jacobian(p)]
    return [each.detach() for each in found]


def _assert_equal(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)


@pytest.mark.parametrize("read", [nephi.read_transform, nephi.read_inverse])
@pytest.mark.parametrize("file", ["transform.nephi", "warp.nii.gz"])
def test_stored_transforms(case: Case, read: Callable[..., nephi.Transform], file: str, request) -> None:
    expected = _values(read(case.folder / "result" / file), case.points)
    request.getfixturevalue("guarded")
    _assert_equal(_values(read(case.folder / "result" / file), case.points), expected)


@pytest.mark.parametrize("interpolation", ["linear", "nearest", "bspline", "label"])
def test_resampled_images(case: Case, interpolation: str, under_default: torch.dtype) -> None:
    moving = nephi.read_image(case.folder / "moving.nii.gz")
    fixed = nephi.read_image(case.folder / "fixed.nii.gz")
    found = nephi.resample(
        moving, fixed.grid, nephi.read_transform(case.folder / "result" / "transform.nephi"), interpolation
    )
    torch.set_default_dtype(torch.float32)
    expected = nephi.resample(case.result.pair.moving, fixed.grid, case.result.transform, interpolation)
    assert found.data.dtype == expected.data.dtype and torch.equal(found.data, expected.data)


@pytest.mark.parametrize(("name", "format"), [("w.nii.gz", "itk"), ("w.nrrd", "nrrd"), ("w.h5", "h5")])
def test_exported_transforms(case: Case, name: str, format: str, under_default: torch.dtype, tmp_path: Path) -> None:
    def exported(file: Path) -> list[Tensor]:
        nephi.export_transform(case.result.transform, case.result.pair.fixed.grid, file, format=format)
        return _values(nephi.read_transform(file), case.points)

    found = exported(tmp_path / name)
    torch.set_default_dtype(torch.float32)
    _assert_equal(found, exported(tmp_path / f"default_{name}"))


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "torch"])
def test_repeated_registration(
    case: Case, kernels: bool, under_default: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = case.result
    if not kernels:
        for module in ("adam", "field", "library", "interpolation", "similarity", "volume"):
            monkeypatch.setattr(f"nephi.kernels.{module}.library", lambda: None)
        torch.set_default_dtype(torch.float32)
        expected = nephi.register(case.result.pair.fixed, case.result.pair.moving, settings=BRIEF)
        torch.set_default_dtype(under_default)
    found = nephi.register(case.folder / "fixed.nii.gz", case.folder / "moving.nii.gz", settings=BRIEF)
    _assert_equal(_values(found.transform, case.points), _values(expected.transform, case.points))
    assert found.history == expected.history


@pytest.mark.parametrize("dimension", ["2-D", "3-D"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_no_step_uses_the_default_dtype(dimension: str, variant: str, guarded: None, tmp_path: Path) -> None:
    pair = _pair(dimension)
    masks = {"fixed_mask": pair.fixed_mask, "moving_mask": pair.moving_mask}
    result = nephi.register(pair.fixed, pair.moving, settings=VARIANTS[variant], **masks)
    report = result.save(tmp_path / "result", landmarks=pair.landmarks, labels=(pair.fixed_mask, pair.moving_mask))
    assert "nan" not in str(report["tre_mm"]).lower()


MODELS: dict[str, ModelSettings] = {
    "dense": NephiSettings(field=FieldSettings(spacings=(24.0, 12.0), hidden=8), encoder=EncoderSettings((4, 8), 1, 8)),
    "steps": NephiSettings(
        downsampling=(2, 1),
        field=FieldSettings(spacings=(24.0,), hidden=8),
        encoder=EncoderSettings((4, 8), 1, 8, forces=True),
    ),
    "auto": AutoDecoderSettings(pairs=2, field=FieldSettings(spacings=(24.0, 12.0), hidden=8)),
    "unet": DisplacementUNetSettings((4, 8)),
}


def _model(name: str, dimension: int) -> StoredModel:
    box = InputSettings((16, 14, 12)[:dimension], (9.0, 9.0, 12.0)[:dimension])
    model = build_model(MODELS[name], input_grid(box), torch.Generator().manual_seed(5))
    return StoredModel(model, box, TrainingObjectiveSettings(), {"seed": 5})


@pytest.mark.parametrize("name", MODELS)
def test_models(case: Case, name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    paths = case.folder / "fixed.nii.gz", case.folder / "moving.nii.gz"
    steps = {} if name == "unet" else {"refinement": nephi.inference.Refinement(4)}
    reference = _model(name, case.points.shape[-1])
    expected = nephi.predict(*paths, model=reference, device="cpu", **steps)
    request.getfixturevalue("guarded")
    model = _model(name, case.points.shape[-1])
    for one, other in zip(model.model.parameters(), reference.model.parameters(), strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)
    write_model(model, tmp_path / "m.safetensors")
    found = nephi.predict(*paths, model=tmp_path / "m.safetensors", device="cpu", **steps)
    _assert_equal(_values(found.transform, case.points), _values(expected.transform, case.points))


def test_phantoms(under_default: torch.dtype) -> None:
    found = [_pair(dimension) for dimension in ("2-D", "3-D")]
    torch.set_default_dtype(torch.float32)
    for one, other in zip(found, [_pair(dimension) for dimension in ("2-D", "3-D")], strict=True):
        assert torch.equal(one.fixed.data, other.fixed.data) and torch.equal(one.moving.data, other.moving.data)
        assert torch.equal(one.landmarks.moving.coordinates, other.landmarks.moving.coordinates)
