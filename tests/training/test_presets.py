"""Presets of trainings: settings of published methods that a file, or nothing else, completes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import nephi
from nephi.errors import UsageError
from nephi.models import (
    DisplacementUNet,
    DisplacementUNetSettings,
    GradICON,
    GradICONSettings,
    InputSettings,
    StoredModel,
    UNetSettings,
    build_model,
    input_grid,
)
from nephi.training import TrainSettings, read_train_settings, train_settings_toml, training_presets
from nephi.training.checks import check_objective
from nephi.training.seeding import generator_of
from nephi.training.settings_file import tables_over_preset

NAMES = sorted(training_presets())


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_needs_only_data(name: str, tmp_path: Path) -> None:
    """Each has a title, builds in 2-D or 3-D with its own weights, and its settings are read as they are written."""
    settings = read_train_settings(preset=name, data=tmp_path)
    assert training_presets()[name]
    assert settings.data.index == str(tmp_path.resolve())
    settings = replace(settings, model=settings.model.with_pairs(3))
    check_objective(settings)
    (tmp_path / "all.toml").write_text(train_settings_toml(settings), encoding="utf-8")
    assert read_train_settings(tmp_path / "all.toml") == settings


def test_a_file_overrides_its_preset(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('preset = "gradicon"\n[data]\nindex = "d"\n[objective]\npoints = 77\n[model.unet]\nfinest = 1\n')
    settings, alone = read_train_settings(path), read_train_settings(preset="gradicon", data=tmp_path / "d")
    assert isinstance(settings.model, GradICONSettings) and isinstance(alone.model, GradICONSettings)
    unet = replace(alone.model.unet, finest=1)
    assert settings.model == replace(alone.model, unet=unet)
    assert settings.objective == replace(alone.objective, points=77)
    assert (settings.data, settings.optimization) == (alone.data, alone.optimization)
    # The name in the file precedes that of the argument, as for the settings of a registration.
    assert read_train_settings(path, preset="unet") == settings
    assert read_train_settings(path, data=tmp_path / "e").data.index == str(tmp_path.resolve() / "e")


FLAT = '[data]\nindex = "d"\n[input]\nshape = [32, 24]\nspacing = [4.0, 4.0]\n'
WEIGHTS = {  # as functions of the dimension D, from the papers' lambda
    "carl": lambda d: ("gradicon", 1.5 / (2 * d)),
    "constricon": lambda d: ("velocity", 5 * 2 / (2 * d)),
    "gradicon": lambda d: ("gradicon", 1.5 / (2 * d)),
    "icon": lambda d: ("icon", 2048 / (2 * 128**2) if d == 2 else 3600 / (3 * 140**2)),
    "nephi-eccv2024": lambda d: ("gradicon", 10 / d**2),
    "unet": lambda d: ("diffusion", 1 / d**2),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_are_those_of_the_dimension(name: str, tmp_path: Path) -> None:
    """In a file of their own, in config.toml, and unless the file has others."""
    path = tmp_path / "c.toml"
    path.write_text(f'preset = "{name}"\n{FLAT}', encoding="utf-8")
    for d, settings in ((2, read_train_settings(path)), (3, read_train_settings(preset=name, data=tmp_path))):
        weight, expected = WEIGHTS[name](d)
        assert getattr(settings.objective, weight) == pytest.approx(expected, rel=5e-3)
        assert f"{weight} = {getattr(settings.objective, weight)}\n" in train_settings_toml(settings)
    assert read_train_settings(path, preset="unet") == read_train_settings(path)
    weight, _ = WEIGHTS[name](2)
    path.write_text(f'preset = "{name}"\n{FLAT}[objective]\n{weight} = 0.7\n', encoding="utf-8")
    assert getattr(read_train_settings(path).objective, weight) == 0.7


def test_a_model_to_fine_tune_determines_the_dimension(tmp_path: Path) -> None:
    for shape, weight in (((24, 24), 0.375), ((24, 24, 24), 0.25)):
        box = InputSettings(shape, (1.0,) * len(shape))
        model = build_model(GradICONSettings((1,), UNetSettings((2, 2))), input_grid(box), generator_of("weights", 0))
        objective = tables_over_preset({"preset": "gradicon"}, StoredModel(model, box, GradICON.default_objective))
        assert objective["objective"]["gradicon"] == weight


def test_phases_are_those_of_the_dimension(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f'preset = "carl"\n{FLAT}', encoding="utf-8")
    for settings, weight in ((read_train_settings(path), 0.375), (read_train_settings(preset="carl", data=path), 0.25)):
        (phase,) = settings.phases
        assert phase.steps == 1500 and phase.objective == {"gradicon": 0.0, "diffusion": weight}


def test_another_kind_of_model_needs_other_settings_than_those_of_the_preset(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('preset = "gradicon"\n[data]\nindex = "d"\n[model]\nkind = "unet"\n')
    settings, preset = read_train_settings(path), read_train_settings(preset="gradicon", data=tmp_path)
    assert (settings.model, settings.objective) == (DisplacementUNetSettings(), DisplacementUNet.default_objective)
    assert settings.phases == () and preset.phases != ()
    assert settings.optimization == preset.optimization
    check_objective(settings)


@pytest.mark.parametrize(
    ("text", "preset", "message"),
    [
        ('preset = "voxels"\n', None, r"c\.toml: preset: expected one of .*gradicon, .*, got 'voxels'$"),
        ("preset = 3\n", None, r"c\.toml: preset: expected one of .*, got 3$"),
        (None, "voxels", r"preset: expected one of .*, got 'voxels'$"),
        (None, "unet", r"preset unet: data\.index: expected the path"),
        ('preset = "unet"\n[model]\ndownsampling = [1]\n', None, r"c\.toml: model\.downsampling: a key of kind"),
    ],
)
def test_errors_name_file_or_preset(tmp_path: Path, text: str | None, preset: str | None, message: str) -> None:
    path = None if text is None else tmp_path / "c.toml"
    if path is not None and text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_train_settings(path, preset=preset)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_fits_the_images_of_a_data_set(name: str, settings: TrainSettings, tmp_path: Path) -> None:
    """In 2-D as well, where its architecture is built for the images of these tests."""
    chosen = replace(read_train_settings(preset=name, data=tmp_path), input=settings.input)
    model = chosen.model.with_pairs(3)
    build_model(model, input_grid(chosen.input), generator_of("weights", 0))


SMALL = """preset = "{name}"
[data]
index = "{data}"
[input]
shape = [24, 24]
spacing = [1.0, 1.0]
window = [0.0, 1.0]
[model.unet]
filters = [4, 8]
[objective]
points = 50
background_points = 20
[optimization]
steps = 3
batch = 2
workers = 0
threads = 1
validation_interval = 3
"""


def test_a_preset_trains_and_its_model_predicts(shapes: Path, tmp_path: Path) -> None:
    """Its last step, which is added in a later phase, is the identity until then."""
    pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric: pip install nephi[train]")
    path, phase = tmp_path / "c.toml", "[[phases]]\nsteps = {steps}\nnetwork_steps = 3\n"
    for steps in (3, 2):
        path.write_text(SMALL.format(name="gradicon", data=shapes) + phase.format(steps=steps))
        run = nephi.train(read_train_settings(path), tmp_path / f"run{steps}", device="cpu")
        model = nephi.read_model(run.last).model
        trained = {
            int(name.partition("steps.")[2].partition(".")[0])
            for name, tensor in model.state_dict().items()
            if ".last." in name and bool(tensor.any())
        }
        assert trained == set(range(3 if steps == 3 else 4))
    images = [nephi.read_image(shapes / "images" / f"s{k}.nii.gz") for k in (0, 1)]
    result = nephi.predict(*images, model=run.last, device="cpu")
    assert len(result.stored.steps) == 4 and result.stored.unrefined_inverse is not None
