"""TOML files of trainings: strict keys, relative paths, defaults of a model to fine-tune."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from nephi.errors import UsageError
from nephi.models import StoredModel, build_model, input_grid
from nephi.training import TrainSettings, read_train_settings, train_settings_toml
from nephi.training.checks import check_model
from nephi.training.settings_file import difference, result_settings


def write(folder: Path, text: str) -> Path:
    (folder / "c.toml").write_text(text)
    return folder / "c.toml"


def test_settings_are_read_as_they_were_written(settings: TrainSettings, tmp_path: Path) -> None:
    assert read_train_settings(write(tmp_path, train_settings_toml(settings))) == settings


def test_the_index_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    found = read_train_settings(write(tmp_path / "configs", '[data]\nindex = "../shapes"\n'))
    assert found.data.index == str(tmp_path.resolve() / "shapes")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "c.toml: data.index: expected the path of a data set's index, got none"),
        ("[optimization]\nepochs = 3\n", "c.toml: optimization.epochs: unknown setting; expected one of"),
        (
            "[augmentation]\ntable = 'x'\n",
            "c.toml: augmentation.table: unknown setting; expected one of augmentation.rotation, ",
        ),
        ("[optimization]\nsteps = 1.5\n", "c.toml: optimization.steps: expected a whole number, got 1.5"),
        ('[input]\nshape = "cube"\n', "c.toml: input.shape: expected a list"),
        ("[model.encoder]\nfilters = [4, 0]\n", "c.toml: encoder.filters: expected"),
        (
            "[fit]\nrate = 1\n",
            "c.toml: fit: unknown table; expected one of data, input, model, objective, augmentation, opt",
        ),
        ("[frame]\nshape = [8, 8]\n", "c.toml: frame: is now input"),
        ("[augment]\nflip = true\n", "c.toml: augment: is now augmentation"),
        ("[train]\nsteps = 3\n", "c.toml: train: is now optimization"),
        ("[model]\nsystem = 'unet'\n", r"c.toml: model\.system: is now model\.kind"),
        ("[model]\nthinning = [2, 1]\n", r"c.toml: model\.thinning: is now model\.downsampling"),
        (
            "[model]\nkind = 'vit'\n",
            r"c.toml: model\.kind: expected one of nephi, .*, got 'vit'",
        ),
        (
            "[model]\nfilters = [4, 8]\n",
            r'model\.filters: a key of kind = "unet", got kind = "nephi"; known are',
        ),
        ("[model]\nkind = 'unet'\npairs = 3\n", r'model\.pairs: a key of kind = "auto-decoder", got kind = "unet"'),
        (
            "[model]\nkind = 'unet'\nwidth = 3\n",
            r"c.toml: model\.width: unknown setting; expected one of model\.filters",
        ),
        (
            "[model.field]\nencoding = 'hash'\n",
            r'c.toml: field\.encoding: expected "dense"',
        ),
        ("[objective]\ncontrast = 1\n", "c.toml: objective.contrast: is now objective.variance_floor"),
        ("[objective]\nregular_points = 1\n", "c.toml: objective.regular_points: is now objective.background_points"),
        ("model = 3\n", r"c.toml: model: expected a table, got 3"),
        ("objective = 3\n", r"c.toml: objective: expected a table, got 3"),
        ("[train\n", "c.toml: .*expected TOML, found an error"),
    ],
)
def test_errors_name_the_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_train_settings(write(tmp_path, text))


def stored(settings: TrainSettings) -> StoredModel:
    model = build_model(settings.model, input_grid(settings.input), torch.Generator().manual_seed(0))
    return StoredModel(model, settings.input, settings.objective)


def test_a_model_to_fine_tune_replaces_the_defaults(settings: TrainSettings, tmp_path: Path) -> None:
    text = '[data]\nindex = "d"\n[objective]\ngradicon = 7.0\n'
    found = read_train_settings(write(tmp_path, text), stored(settings))
    assert (found.input, found.model) == (settings.input, settings.model)
    assert found.objective == replace(settings.objective, gradicon=7.0)
    check_model(found, stored(settings))


def test_a_configuration_that_contradicts_the_model(settings: TrainSettings, tmp_path: Path) -> None:
    model = stored(settings)
    found = read_train_settings(write(tmp_path, '[data]\nindex = "d"\n[model.field]\nhidden = 9\n'), model)
    with pytest.raises(UsageError, match=r"model\.field\.hidden: the model has 8, the configuration 9; leave it out"):
        check_model(found, model)


def test_a_preset_of_another_kind_than_the_model(settings: TrainSettings) -> None:
    with pytest.raises(UsageError, match=r'model\.kind: the model has "nephi", the configuration .gradicon.; leave it'):
        read_train_settings(model=stored(settings), preset="gradicon", data="d")


def test_differences(settings: TrainSettings) -> None:
    table = result_settings(settings)
    assert difference(table, result_settings(settings)) is None
    assert "workers" not in table["optimization"] and "index" not in table["data"]
    other = replace(settings, augmentation=replace(settings.augmentation, noise=0.5))
    assert difference(table, result_settings(other)) == "augmentation.noise"
    assert difference({"a": {}}, {"a": {"b": None}}) == "a.b"
    assert set(asdict(settings)) == set(table)


def test_paths_that_toml_cannot_hold(tmp_path: Path) -> None:
    """The settings of a run are kept in config.toml, with the index as an absolute path."""
    folder = tmp_path / "\udcff"
    folder.mkdir()
    for text, place in (('index = "x.json"', folder), ('index = "x\\u0000.json"', tmp_path)):
        (place / "c.toml").write_text(f"[data]\n{text}\n", encoding="utf-8")
        with pytest.raises(UsageError, match=r"data\.index: expected a path"):
            read_train_settings(place / "c.toml")
