"""Presets of trainings: settings of published methods that a file, or nothing else, completes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import nephi
from nephi.errors import UsageError
from nephi.models import DisplacementUNet, DisplacementUNetSettings, GradICONSettings, build_model, input_grid
from nephi.training import TrainSettings, read_train_settings, train_settings_toml, training_presets
from nephi.training.checks import check_objective
from nephi.training.seeding import generator_of

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
