"""The documentation builds without warnings, is complete, and loads nothing from other hosts."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import click
import pytest

import nephi
from nephi.cli.main import cli
from tests.test_public_api import SURFACE

ROOT = Path(__file__).parents[2]
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


class Page(HTMLParser):
    """The anchors, links and loaded files of an HTML page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if LOADED.get(tag, "") in values:
            self.loaded.append(values[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for module in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            pytest.skip(f"needs {module}, of the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "--quiet", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def test_every_public_name_is_documented(site: Path, pages: dict[Path, Page]) -> None:
    anchors = pages[site / "reference" / "api.html"].anchors
    assert [name for name in sorted(SURFACE) if f"nephi.{name}" not in anchors] == []


def test_every_command_and_option_is_documented(site: Path, pages: dict[Path, Page]) -> None:
    page = pages[site / "reference" / "commands.html"]
    for name, command in cli.commands.items():
        assert f"nephi-{name}" in page.anchors or command.hidden
        for option in (each for each in command.params if not getattr(each, "hidden", False)):
            # The usage line shows arguments as their metavar or their choices.
            shown = option.opts if option.param_type_name == "option" else [option.make_metavar(click.Context(command))]
            assert any(o in page.text for o in shown), f"nephi {name}: {shown}"
    assert "Sentinel" not in page.text


def test_every_setting_and_preset_is_documented(site: Path, pages: dict[Path, Page]) -> None:
    page = pages[site / "reference" / "settings.html"]
    settings = nephi.Settings()
    tables = [
        settings,
        settings.image,
        settings.affine,
        settings.field,
        settings.objective,
        settings.optimization,
        settings.guidance,
        settings.levels[0],
    ]
    names = {f.name for table in tables for f in dataclasses.fields(table)}
    names -= {"image", "affine", "field", "objective", "optimization", "guidance", "levels", "channels"}
    assert {name for name in names if f"<td><code>{name}</code></td>" not in page.text} == set()
    assert set(nephi.preset_names()) <= page.anchors


def test_every_setting_of_a_training_is_documented(site: Path, pages: dict[Path, Page]) -> None:
    page, missing = pages[site / "reference" / "training.html"], []

    def check(table: Any, path: str) -> None:
        for field in dataclasses.fields(table):
            value = getattr(table, field.name)
            if dataclasses.is_dataclass(value):
                check(value, f"{path}.{field.name}")
            elif field.name != "phases" and f"<td><code>{field.name}</code></td>" not in page.text:
                missing.append(f"{path}.{field.name}")

    check(nephi.training.TrainSettings(), "")
    check(nephi.training.PhaseSettings(1), "phases")
    assert missing == []


def test_links_have_targets(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            known = target.is_file() and (not parts.fragment or unquote(parts.fragment) in pages[target].anchors)
            if not known and parts.fragment != "__skip":
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []


def test_nothing_is_loaded_from_other_hosts(site: Path, pages: dict[Path, Page]) -> None:
    loaded = {url for page in pages.values() for url in page.loaded if urlsplit(url).netloc}
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert loaded == set()
    assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", styles)
    # The script of the theme loads files for diagrams and repository links only, which these pages do not have.
    for page in pages.values():
        assert 'class="mermaid"' not in page.text and 'data-md-component="source"' not in page.text


def test_readme_links_to_files() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if not urlsplit(link).scheme]
    assert links and [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("script", ["before_and_after", "volume_change"])
def test_the_figures_of_readme_are_drawn(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [f"{script}.py", str(tmp_path / "figure.png")])
    monkeypatch.syspath_prepend(ROOT / "docs")  # as for a script: one imports the other
    runpy.run_path(str(ROOT / "docs" / f"{script}.py"), run_name="__main__")
    assert 10_000 < (tmp_path / "figure.png").stat().st_size < 200_000
