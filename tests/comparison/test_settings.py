"""The configuration of a comparison: how its tables are merged, and what is refused before anything is computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from nephi.comparison import plan_comparison, read_comparison_settings
from nephi.comparison.costs import phase_fractions
from nephi.comparison.plan import with_budget
from nephi.errors import NephiError, UsageError
from nephi.training import read_train_settings

from .conftest import CONFIG


def write(folder: Path, text: str) -> Path:
    path = folder / "changed.toml"
    path.write_text(text)
    return path


def test_models_override_the_common_tables(folder: Path) -> None:
    settings = read_comparison_settings(folder / "config.toml")
    fields, table = (model.settings for model in settings.models)
    assert (fields.model.kind, table.model.kind) == ("nephi", "unet")
    assert fields.data == table.data and Path(fields.data.index) == (folder / "shapes").resolve()
    assert fields.input == table.input and fields.input.shape == (20, 20)
    assert (fields.optimization.rate, table.optimization.rate) == (5e-4, 2e-3)
    assert fields.optimization.batch == table.optimization.batch == 2
    assert (fields.objective.gradicon, table.objective.gradicon) == (0.3, 0.0)  # defaults of each kind of model
    assert fields.objective.points == table.objective.points == 60


def test_a_preset_stands_behind_the_common_tables(folder: Path) -> None:
    text = (
        CONFIG.partition("[[models]]")[0] + '[[models]]\nname = "p"\npreset = "icon"\n[models.objective]\nicon = 0.5\n'
    )
    settings = read_comparison_settings(write(folder, text)).models[0].settings
    (folder / "icon.toml").write_text('preset = "icon"\n[data]\nindex = "shapes"\n')
    preset = read_train_settings(folder / "icon.toml")
    assert settings.model == preset.model
    assert settings.optimization.rate == preset.optimization.rate != 5e-4  # of the preset
    assert settings.optimization.batch == 2 != preset.optimization.batch  # of the common table
    assert settings.objective.icon == 0.5 != preset.objective.icon  # of the model


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 6", "", "budget: expected either minutes or steps above 0, got minutes = 0 and steps = 0"),
        ("steps = 6", "steps = 6\nminutes = 1.0", "budget: expected either minutes or steps above 0"),
        ("steps = 6", "minutes = -1.0", "budget.minutes: expected 0 or more, got -1.0"),
        ("[budget]\nsteps = 6\nvalidations = 3", "", "budget: expected a table with minutes or steps, got none"),
        ('name = "table"', 'name = "Fields"', "models.name: expected different names, got fields and Fields"),
        ('name = "table"', 'name = "../x"', "models.name: expected up to 64 letters"),
        ('name = "table"', "", "models: expected a text as name of model 2, got None"),
        ('kind = "unet"', 'kind = "resnet"', "model table: model.kind: expected one of"),
        ("rate = 2e-3", "steps = 9", "model table: optimization.steps: expected none, as [budget] determines it"),
        ("batch = 2", "threads = 2", "optimization.threads: expected none, as [budget] determines it"),
        ("rate = 2e-3", "speed = 1", "model table: optimization.speed: unknown setting; expected one of"),
        ('name = "table"', 'name = "table"\npreset = "best"', "model table: preset: expected one of"),
        ('name = "table"', 'name = "table"\nmodle = 1', "model table: modle: unknown key; expected one of"),
        ("[scoring]", "[score]", "score: unknown table; expected one of data, budget"),
        ('"shapes"', '""', "data.index: expected the path of a data set's index"),
    ],
)
def test_unusable_settings_are_named(folder: Path, old: str, new: str, message: str) -> None:
    assert old in CONFIG
    path = write(folder, CONFIG.replace(old, new))
    with pytest.raises(UsageError) as caught:
        read_comparison_settings(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"shapes"', '"bare"', "expected labels or landmarks in the split test to score, got neither"),
        ("pairs = 3", 'split = "exam"', "has no split 'exam': choose one of train, val, test"),
        ("spacing = [1.0, 1.0]", "spacing = [1.0]", "input.spacing: expected 2 lengths"),
        (
            "shape = [20, 20]\nspacing = [1.0, 1.0]",
            "shape = [8, 8, 8]",
            "model fields: input.shape: expected 2 numbers",
        ),
        ("rate = 2e-3", "[models.objective]\ngradicon = 1.0", "model table: objective.gradicon: expected 0 for"),
        ('kind = "unet"\nfilters = [4, 8]', 'kind = "auto-decoder"', "model table: model.kind: expected a model that"),
    ],
)
def test_unusable_models_and_data_are_named_by_the_plan(folder: Path, old: str, new: str, message: str) -> None:
    assert old in CONFIG
    with pytest.raises(NephiError) as caught:
        plan_comparison(read_comparison_settings(write(folder, CONFIG.replace(old, new))))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_phases_keep_their_fractions_of_the_steps(folder: Path) -> None:
    phases = "[[models.phases]]\nsteps = 50\n[[models.phases]]\nsteps = 25\n"
    text = CONFIG.replace("rate = 2e-3", f"steps = 100\n{phases}").replace("steps = 6", "minutes = 1")
    settings = read_comparison_settings(write(folder, text))
    model = settings.models[1].settings
    assert phase_fractions(model) == [0.5, 0.25, 0.25] and phase_fractions(settings.models[0].settings) == [1.0]
    planned = with_budget(model, settings.budget, 7)
    assert [phase.steps for phase in planned.phases] == [4, 1] and planned.optimization.steps == 7
    assert with_budget(planned, settings.budget, 7) == planned
    assert with_budget(model, settings.budget).phases == model.phases  # before the steps are planned


def test_the_plan_has_budget_sizes_and_pairs(folder: Path) -> None:
    plan = plan_comparison(read_comparison_settings(folder / "config.toml"))
    assert [model.settings.optimization.steps for model in plan.models] == [6, 6]
    assert [model.settings.optimization.validation_interval for model in plan.models] == [2, 2]
    assert all(model.settings.optimization.threads == 1 for model in plan.models)
    assert plan.scoring.split == "test" and plan.pairs == 3
    assert plan.models[0].size.parameters > 0
