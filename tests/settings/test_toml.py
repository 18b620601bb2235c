"""Settings from presets and TOML files, and back."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nephi.errors import UsageError
from nephi.settings import Settings, preset, preset_names, read_settings, settings_from_table, settings_toml
from nephi.settings.toml import settings_table


@pytest.fixture
def write(tmp_path: Path):
    def written(text: str) -> Path:
        path = tmp_path / "settings.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_the_presets_of_the_help_text() -> None:
    assert {"generic", "lung-ct", "ct", "brain-mri", "idir", "nephi-eccv2024"} <= set(preset_names())


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
    settings = read_settings(write("[fit]\nrate = 0.123\n[field]\nhidden = 7\n"), name)
    expected = replace(base, fit=replace(base.fit, rate=0.123), field=replace(base.field, hidden=7))
    assert settings == expected != base


def test_levels_are_replaced_as_a_whole(write) -> None:
    settings = read_settings(write("[[levels]]\nsteps = 7\nspacing = 2\n"), "lung-ct")
    assert [(v.steps, v.spacing) for v in settings.levels] == [(7, 2.0)]


def test_a_file_may_name_its_own_preset(write) -> None:
    settings = read_settings(write('preset = "lung-ct"\n[fit]\npatches = 77\n'), "generic")
    assert settings.image == preset("lung-ct").image
    assert settings.fit.patches == 77


def test_whole_numbers_serve_as_numbers(write) -> None:
    assert read_settings(write("[fit]\nrate = 1\n"), "generic").fit.rate == 1.0


def test_an_empty_file_is_the_preset(write) -> None:
    assert read_settings(write(""), "ct") == preset("ct")


def test_defaults_are_valid() -> None:
    assert settings_from_table({}, "nothing") == Settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[fit]\nrat = 1\n", r"unknown setting fit\.rat; known are .*fit\.rate"),
        ("fitt = 1\n", r"unknown setting fitt; known are .*fit"),
        ("[fit]\nrate = 'fast'\n", r"fit\.rate: expected a number, got 'fast'"),
        ("[fit]\npatches = 2.5\n", r"fit\.patches: expected a whole number, got 2\.5"),
        ("[fit]\npatches = true\n", r"fit\.patches: expected a whole number, got True"),
        ("[fit]\ndecay = 1\n", r"fit\.decay: expected true or false, got 1"),
        ("[field]\nencoding = 3\n", r"field\.encoding: expected a text, got 3"),
        ("[field]\nomegas = [1.0]\n", r"field\.omegas: expected a list"),
        ("[field]\nspacings = 8\n", r"field\.spacings: expected a list"),
        ("[field]\nspacings = [8, 'a']\n", r"field\.spacings\[1\]: expected a number"),
        ("fit = 3\n", r"fit.*: expected a table, got 3"),
        ("[levels]\nsteps = 3\n", r"levels: expected a list"),
        ("[[levels]]\nsteps = 0\n", r"steps: expected 1 or more, got 0"),
        ("[fit]\nrate = -1\n", r"fit\.rate: expected more than 0\.0, got -1\.0"),
        ("[fit\n", "not a TOML file"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(write, text: str, said: str) -> None:
    path = write(text)
    with pytest.raises(UsageError, match=said) as error:
        read_settings(path, "generic")
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["preset = 'liver'\n", "preset = 3\n"])
def test_a_wrong_preset_lists_the_known_ones(write, text: str) -> None:
    with pytest.raises(UsageError, match=r"unknown preset .*generic.*lung-ct"):
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
    found = read_settings(write("[fit]\npatches = 77\n"), base)
    assert found == replace(base, fit=replace(base.fit, patches=77))
