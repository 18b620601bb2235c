"""Settings from presets and TOML files, and back."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nephi.errors import UsageError
from nephi.settings import (
    FitObjectiveSettings,
    FitOptimizationSettings,
    Settings,
    preset,
    preset_names,
    read_settings,
    settings_from_table,
    settings_toml,
)
from nephi.settings.toml import settings_table


@pytest.fixture
def write(tmp_path: Path):
    def written(text: str) -> Path:
        path = tmp_path / "settings.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_the_presets_of_the_help_text() -> None:
    assert {"generic", "lung-ct", "ct", "breathing", "brain-mri", "idir", "nephi-eccv2024"} <= set(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_survives_the_round_trip(name: str, tmp_path: Path) -> None:
    settings = preset(name)
    path = tmp_path / "all.toml"
    path.write_text(settings_toml(settings), encoding="utf-8")
    # Whatever the base: a complete file leaves nothing to it.
    assert read_settings(path, "generic") == settings
    assert read_settings(path, "lung-ct") == settings
    assert settings_from_table(settings_table(settings), "table") == settings


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_says_what_it_is_for(name: str) -> None:
    text = (Path(__file__).parents[2] / "nephi/settings/presets" / f"{name}.toml").read_text(encoding="utf-8")
    assert text.startswith("# ")


def test_ct_presets_fill_with_air() -> None:
    for name in ("lung-ct", "ct"):
        assert preset(name).image.outside == -1024
    assert preset("generic").image.outside == 0


@pytest.mark.parametrize("name", preset_names())
def test_tables_are_merged_key_by_key(name: str, write) -> None:
    base = preset(name)
    settings = read_settings(write("[optimization]\nrate = 0.123\n[field]\nhidden = 7\n"), name)
    expected = replace(base, optimization=replace(base.optimization, rate=0.123), field=replace(base.field, hidden=7))
    assert settings == expected != base


def test_levels_are_replaced_as_a_whole(write) -> None:
    settings = read_settings(write("[[levels]]\nsteps = 7\nspacing = 2\n"), "lung-ct")
    assert [(v.steps, v.spacing) for v in settings.levels] == [(7, 2.0)]


def test_a_file_may_name_its_own_preset(write) -> None:
    settings = read_settings(write('preset = "lung-ct"\n[objective]\npoints = 77\n'), "generic")
    assert settings.image == preset("lung-ct").image
    assert settings.objective.points == 77


def test_whole_numbers_serve_as_numbers(write) -> None:
    assert read_settings(write("[optimization]\nrate = 1\n"), "generic").optimization.rate == 1.0


def test_an_empty_file_is_the_preset(write) -> None:
    assert read_settings(write(""), "ct") == preset("ct")


def test_defaults_are_valid() -> None:
    assert settings_from_table({}, "nothing") == Settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[optimization]\nrat = 1\n", r"optimization\.rat: unknown setting; expected one of .*optimization\.rate"),
        ("fitt = 1\n", "fitt: unknown setting; expected one of .*objective"),
        ("[optimization]\nrate = 'fast'\n", r"optimization\.rate: expected a number, got 'fast'"),
        ("[objective]\npoints = 2.5\n", r"objective\.points: expected a whole number, got 2\.5"),
        ("[objective]\npoints = true\n", r"objective\.points: expected a whole number, got True"),
        ("[optimization]\ndecay = 1\n", r"optimization\.decay: expected true or false, got 1"),
        ("[field]\nencoding = 3\n", r"field\.encoding: expected a text, got 3"),
        ("[field]\nomegas = [1.0]\n", r"field\.omegas: expected a list"),
        ("[field]\nspacings = 8\n", r"field\.spacings: expected a list"),
        ("[field]\nspacings = [8, 'a']\n", r"field\.spacings\[1\]: expected a number"),
        ("objective = 3\n", r"objective: expected a table, got 3"),
        ("[levels]\nsteps = 3\n", r"levels: expected a list"),
        ("[[levels]]\nsteps = 0\n", r"steps: expected 1 or more, got 0"),
        ("[optimization]\nrate = -1\n", r"optimization\.rate: expected more than 0\.0, got -1\.0"),
        ("[fit\n", "expected TOML, found an error"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(write, text: str, said: str) -> None:
    path = write(text)
    with pytest.raises(UsageError, match=said) as error:
        read_settings(path, "generic")
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[fit]\nrate = 0.1\n", "fit.rate: is now optimization.rate"),
        ("[fit]\npatches = 9\n", "fit.patches: is now objective.points"),
        ("[fit]\n", "fit: is now objective and optimization"),
        ("fit = 3\n", "fit: is now objective and optimization"),
        ("[regularity]\nnothing = 1\n", "regularity: is now objective"),
        ("[regularity]\neverywhere = 1\n", "regularity.everywhere: is now objective.background_points"),
        (
            "[regularity]\ngradicon = 1\n",
            "regularity.gradicon: is now objective.gradicon, the weight of the mean over both orders: "
            "twice the old value",
        ),
    ],
)
def test_earlier_names_are_errors_that_name_the_new_ones(write, text: str, message: str) -> None:
    path = write(text)
    with pytest.raises(UsageError) as error:
        read_settings(path, "generic")
    assert str(error.value) == f"{path}: {message}"


def test_stored_tables_with_earlier_names_are_converted() -> None:
    stored = {
        "field": {"hidden": 16},
        "fit": {"similarity": "ncc", "patches": 77, "radius": 0, "contrast": 0.1, "share": 0.5, "rate": 0.1},
        "regularity": {"points": 7, "everywhere": 3, "gradicon": 0.3, "icon": 0.01, "folding": 5.0},
        "levels": [{"steps": 3}],
    }
    found = settings_from_table(stored, "stored")
    assert found.objective == FitObjectiveSettings(
        similarity="ncc",
        variance_floor=0.1,
        points=77,
        radius=0,
        regularization_points=7,
        background_points=3,
        gradicon=0.6,
        icon=0.02,
        folding=5.0,
        fraction=0.5,
    )
    assert found.optimization == FitOptimizationSettings(rate=0.1)
    assert found.field.hidden == 16 and len(found.levels) == 1
    one_way = settings_from_table({**stored, "field": {"inverse": False}}, "stored")
    assert one_way.objective.gradicon == one_way.objective.icon == 0
    weighted = {**stored, "regularity": {"codes": 0.1}}  # without codes it was ignored, for dense grids as well
    for field, weight in (({"hidden": 16}, 0), ({"encoding": "coordinates"}, 0), ({"global_codes": 4}, 0.1)):
        assert settings_from_table({**weighted, "field": field}, "stored").objective.codes == weight
    with pytest.raises(UsageError, match="stored: fit: unknown setting"):
        settings_from_table({"fit": {"nothing": 3}}, "stored")


@pytest.mark.parametrize("text", ["preset = 'liver'\n", "preset = 3\n"])
def test_a_wrong_preset_lists_the_known_ones(write, text: str) -> None:
    with pytest.raises(UsageError, match=r"preset: expected one of .*generic.*lung-ct"):
        read_settings(write(text), "generic")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00rate")
    for path in (tmp_path / "missing.toml", tmp_path, binary):
        with pytest.raises(UsageError) as error:
            read_settings(path, "generic")
        assert str(error.value).startswith(f"{path}: ")


def test_settings_can_be_the_base(write: Callable[[str], Path]) -> None:
    base = preset("lung-ct")
    found = read_settings(write("[objective]\npoints = 77\n"), base)
    assert found == replace(base, objective=replace(base.objective, points=77))
