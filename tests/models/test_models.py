"""What every model of `MODELS` must do, and one that is registered by a test."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import nephi
from nephi.errors import UsageError
from nephi.fields import FieldSettings
from nephi.geometry import Grid
from nephi.models import (
    MODELS,
    AffineNetworkSettings,
    AutoDecoderSettings,
    CARLSettings,
    ConstrICONSettings,
    DisplacementUNetSettings,
    EncoderSettings,
    FeatureSettings,
    GradICONSettings,
    ICONSettings,
    KeyMorphSettings,
    ModelSettings,
    NephiSettings,
    RegistrationModel,
    UNetSettings,
    build_model,
    model_class,
    model_settings,
    model_table,
    model_tensors,
)
from nephi.models.published.published_keymorph import PublishedKeyMorphSettings
from nephi.models.published.tall_unet_steps import TallUNetSettings

from .translation import TranslationModel, TranslationSettings

Images = tuple[Tensor, Tensor]
DENSE = FieldSettings(spacings=(20.0, 9.0), hidden=8, channels=3)
ENCODER = EncoderSettings((4, 8, 8), features=16)
# One row for each model; further rows for architectures whose sizes have other terms.
SMALL: dict[str, ModelSettings] = {
    "nephi": NephiSettings((2, 1), DENSE, ENCODER),
    "auto-decoder": AutoDecoderSettings((1,), 3, DENSE),
    "unet": DisplacementUNetSettings((4, 8, 8)),
    "velocity": DisplacementUNetSettings((4, 8), 0, (6, 4), False, transform="velocity"),
    "coarse": DisplacementUNetSettings((4, 8, 8), 1, (5,)),
    "icon": ICONSettings(unet=UNetSettings((4, 8))),
    "gradicon": GradICONSettings((2, 1, 1), UNetSettings((4, 8))),
    "tall-unet": TallUNetSettings((1, 0), (4, 8), (4, 4)),
    "constricon": ConstrICONSettings(
        ("affine", "flow", "flow"), (2, 2, 1), UNetSettings((4, 8)), AffineNetworkSettings((4, 8), features=8)
    ),
    "rigid": ConstrICONSettings(("rigid",), affine=AffineNetworkSettings((4, 8), pooled=1, features=8)),
    "keymorph": KeyMorphSettings(6, (4, 8), align="affine"),
    "keymorph, spline": KeyMorphSettings(7, (4, 4, 8, 8, 8), align="tps:0.1", weighting="equal"),
    "carl": CARLSettings((2, 1), FeatureSettings(4, 2, 1, (1, 2)), UNetSettings((4, 8))),
    "attention": CARLSettings((2,), FeatureSettings(4, 2, 1, (1,)), rotations=90.0),
    "keymorph-published": PublishedKeyMorphSettings(6, (4, 8), backbone="conv", normalization="none"),
    "keymorph, batch": PublishedKeyMorphSettings(6, (4, 8), align="rigid", normalization="batch"),
    "keymorph, u-net": PublishedKeyMorphSettings(6, (8, 16), backbone="unet", normalization="group", left_out=1),
    "translation": TranslationSettings(),
    "forces": NephiSettings(
        field=replace(DENSE, interpolation="quadratic"), encoder=replace(ENCODER, forces=True, finest=1)
    ),
    "nested": NephiSettings(field=replace(DENSE, encoding="nested", layers=3), encoder=ENCODER),
    "codes": NephiSettings(
        field=replace(
            DENSE,
            encoding="coordinates",
            decoder="gated-sine",
            layers=2,
            global_codes=3,
            local_codes=2,
            code_spacing=9.0,
        ),
        encoder=ENCODER,
    ),
    "fourier": NephiSettings(
        field=replace(DENSE, encoding="fourier", decoder="siren", global_codes=2), encoder=ENCODER
    ),
    "tables of codes": AutoDecoderSettings((2, 1), 3, replace(DENSE, global_codes=2, local_codes=2, code_spacing=9.0)),
}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(MODELS, "translation", TranslationModel)
    yield


@pytest.fixture(params=SMALL)
def settings(request: pytest.FixtureRequest) -> ModelSettings:
    return SMALL[request.param]


def build(settings: ModelSettings, grid: Grid, spread: float = 0.0) -> RegistrationModel[Any]:
    """Return a model for images on `grid`, its trained weights changed at random by `spread`."""
    generator = torch.Generator().manual_seed(4)
    model = build_model(settings, grid, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += spread * torch.randn(parameter.shape, generator=generator)
    return model


def points_of(grid: Grid, pairs: int) -> Tensor:
    return grid.voxel_centres().float().reshape(1, -1, grid.dimension)[:, ::11].expand(pairs, -1, -1)


def test_every_model_has_a_row() -> None:
    assert {settings.kind for settings in SMALL.values()} == set(MODELS)


def test_starts_as_the_identity(settings: ModelSettings, grid: Grid, images: Images) -> None:
    """For any images, or for equal ones where the model declares it; one that follows shifts is tested elsewhere."""
    model = build(settings, grid)
    if settings.kind == "carl":
        return  # follows shifts of either image instead, see test_carl.py
    prediction = model(*images) if model.starts_as_identity else model(images[0], images[0])
    points = points_of(grid, 3)
    for maps in (prediction.forward, prediction.inverse):
        if maps is not None:
            assert len(maps) == 3
            torch.testing.assert_close(maps(points), points, rtol=0, atol=1e-4)
            torch.testing.assert_close(maps.value_and_jacobian(points)[0], points, rtol=0, atol=1e-4)


def test_predictions_are_as_the_model_declares(settings: ModelSettings, grid: Grid, images: Images) -> None:
    model = build(settings, grid)
    prediction = model(*images)
    outputs = model.outputs(settings)
    assert (prediction.inverse is not None) == outputs.inverse
    assert set(prediction.penalties) == set(outputs.penalties)


def test_pairs_of_a_batch_are_independent(settings: ModelSettings, grid: Grid, images: Images) -> None:
    model, points, ids = build(settings, grid, 0.05), points_of(grid, 3), torch.arange(3)
    batch = model(*images, ids).forward(points)
    for k in range(3):
        part = slice(k, k + 1)
        single = model(images[0][part], images[1][part], ids[part]).forward(points[part])
        torch.testing.assert_close(single, batch[part], rtol=1e-4, atol=1e-3)


def test_the_direction_matters(settings: ModelSettings, grid: Grid, images: Images) -> None:
    """Swapped images give another prediction, except where the pairs have latent values of their own."""
    model, points = build(settings, grid, 0.05), points_of(grid, 3)
    forward, backward = (model(*pair).forward(points) for pair in (images, images[::-1]))
    assert torch.allclose(forward, backward) == bool(model.pair_parameters())


def test_gradients_reach_every_trained_parameter(settings: ModelSettings, grid: Grid, images: Images) -> None:
    model, points = build(settings, grid, 0.05), points_of(grid, 3)
    prediction = model(*images, torch.arange(3))
    values = [maps(points) - points for maps in (prediction.forward, prediction.inverse) if maps is not None]
    sum((value**2).sum() for value in values).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.numel():
            assert parameter.grad is not None and bool((parameter.grad != 0).any()), name


def test_the_first_steps_are_a_shorter_model(settings: ModelSettings, grid: Grid, images: Images) -> None:
    """With its names and shapes of weights, and its predictions; models without composed steps refuse.

    Shorter models of which a longer one does not go on are not part of it: `test_constricon`.
    """
    model, points, ids = build(settings, grid, 0.05), points_of(grid, 3), torch.arange(3)
    with pytest.raises(UsageError, match=r"^network_steps: expected 0 "):
        model.use_steps(settings.step_count + 1)
    if settings.step_count > 1 and not settings.per_step:
        return
    if not settings.per_step:
        with pytest.raises(UsageError, match=r"^frozen_steps: expected 0 (for|to)"):
            model.use_steps(0, 1)
        return
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    model.use_steps(1)
    used = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    shorter = build(settings.first_steps(1), grid)
    assert used == {name for name, parameter in shorter.named_parameters() if parameter.requires_grad}
    shorter.load_state_dict({name: model.state_dict()[name] for name in shorter.state_dict()})
    found, expected = (each(*images, ids).forward(points) for each in (model, shorter))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    if settings.step_count > 1:
        model.use_steps(0, 1)
        assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == trained - used
        assert not torch.allclose(model(*images, ids).forward(points), found, atol=1e-3)
    model.use_steps(0)
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == trained


def test_sizes_are_known_before_the_model_is_built(settings: ModelSettings, grid: Grid, images: Images) -> None:
    model, size = build(settings, grid), model_class(settings).size(settings, grid)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert size.parameters == sum(p.numel() for p in trained)
    assert size.activation_bytes >= 0
    predicted = {id(p) for n, p in model.named_parameters(remove_duplicate=False) if n in model.predicted_parameters()}
    assert {id(p) for p in model.parameters()} == predicted | {id(p) for p in trained}
    assert size.parameters <= sum(t.numel() for t in model_tensors(model).values())


def test_lattices_that_are_too_large_are_refused_before_they_are_built(grid: Grid) -> None:
    for encoding in ("dense", "nested"):
        settings = NephiSettings(field=replace(DENSE, encoding=encoding, spacings=(20.0, 1e-6)))
        with pytest.raises(UsageError, match=r"field\.spacings: expected larger spacings for this box"):
            model_class(settings).size(settings, grid)


def test_settings_are_read_from_their_table(settings: ModelSettings) -> None:
    assert model_settings(model_table(settings)) == settings


def test_keys_of_another_model_are_refused() -> None:
    with pytest.raises(UsageError, match=r'model\.power: a key of kind = "translation", got kind = "nephi"'):
        model_settings({"power": 2.0})
    with pytest.raises(UsageError, match=r"model\.kind: expected one of nephi, auto-decoder, unet, .*translation, got"):
        model_settings({"kind": "affine"})


@pytest.mark.parametrize(
    "settings",
    [
        DisplacementUNetSettings((10**9, 10**9)),
        NephiSettings(encoder=EncoderSettings((10**9,))),
        NephiSettings(field=replace(DENSE, global_codes=8), encoder=EncoderSettings(features=10**12)),
        AutoDecoderSettings(pairs=10**12),
    ],
)
def test_a_model_too_large_is_refused_before_it_is_built(settings: ModelSettings) -> None:
    grid = Grid.from_spacing((24, 20, 18), (3.0, 3.0, 3.0))
    with pytest.raises(UsageError, match=r"^model: expected settings for at most 4294967296 parameters, got"):
        build_model(settings, grid, torch.Generator())


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (NephiSettings(field=DENSE, encoder=EncoderSettings((4, 4, 4, 1))), "encoder"),
        (DisplacementUNetSettings((4, 4, 4, 4, 1)), "model"),
    ],
)
def test_a_single_feature_cannot_be_normalised(settings: ModelSettings, name: str) -> None:
    for size, refused in ((16, True), (24, False)):
        grid = Grid.from_spacing((size, size), (3.0, 3.0))
        if refused:
            with pytest.raises(UsageError, match=rf"^{name}\.filters: expected fewer resolutions, or 2 channels"):
                build_model(settings, grid, torch.Generator())
        else:
            images = torch.rand(2, 1, 1, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
            build_model(settings, grid, torch.Generator())(*images)


def test_more_networks_than_anyone_trains() -> None:
    for make in (DisplacementUNetSettings, EncoderSettings, NephiSettings, AutoDecoderSettings):
        with pytest.raises(UsageError, match=r"(filters|downsampling): expected .* at most 16"):
            make((1,) * 100)


def test_nothing_outside_a_model_depends_on_its_kind() -> None:
    """No comparison with a kind, and no `isinstance` of a model, in the sources except in the models' own files."""
    folder = Path(nephi.__file__).parent
    names = {model.__name__ for model in MODELS.values()} | {model.Settings.__name__ for model in MODELS.values()}
    own = {model.__module__.removeprefix("nephi.").replace(".", "/") + ".py" for model in MODELS.values()}
    own.add("models/older_files.py")
    for path in sorted(folder.rglob("*.py")):
        if str(path.relative_to(folder)) in own:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                words = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
                assert not words & set(MODELS) - {"nephi"}, f"{path}:{node.lineno}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
                classes = {part.id for part in ast.walk(node.args[1]) if isinstance(part, ast.Name)}
                assert not classes & (names | {"RegistrationModel"}), f"{path}:{node.lineno}"
