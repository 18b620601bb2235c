"""The documentation builds without a warning, is complete, and asks nothing of other hosts."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
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
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


class Page(HTMLParser):
    """What a page refers to and can be referred to by."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if FETCHED.get(tag, "") in found:
            self.fetched.append(found[FETCHED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for module in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            pytest.skip(f"needs {module}, of the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "--quiet", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
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
        for option in command.params:
            # Arguments stand in the usage line, as their metavar or as their choices.
            shown = option.opts if option.param_type_name == "option" else [option.make_metavar(click.Context(command))]
            assert any(o in page.text for o in shown), f"nephi {name}: {shown}"
    assert "Sentinel" not in page.text


def test_every_setting_and_preset_is_documented(site: Path, pages: dict[Path, Page]) -> None:
    page = pages[site / "reference" / "settings.html"]
    whole = nephi.Settings()
    tables = [whole, whole.image, whole.affine, whole.field, whole.objective, whole.optimization, whole.levels[0]]
    names = {f.name for table in tables for f in dataclasses.fields(table)}
    names -= {"image", "affine", "field", "objective", "optimization", "levels"}
    assert {name for name in names if f"<td><code>{name}</code></td>" not in page.text} == set()
    assert set(nephi.preset_names()) <= page.anchors


def test_every_setting_of_a_training_is_documented(site: Path, pages: dict[Path, Page]) -> None:
    page, missing = pages[site / "reference" / "training.html"], []

    def look(table: Any, path: str) -> None:
        for field in dataclasses.fields(table):
            value = getattr(table, field.name)
            if dataclasses.is_dataclass(value):
                look(value, f"{path}.{field.name}")
            elif f"<td><code>{field.name}</code></td>" not in page.text:
                missing.append(f"{path}.{field.name}")

    look(nephi.training.TrainSettings(), "")
    assert missing == []


def test_links_lead_somewhere(site: Path, pages: dict[Path, Page]) -> None:
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


def test_nothing_is_fetched_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    fetched = {url for page in pages.values() for url in page.fetched if urlsplit(url).netloc}
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert fetched == set()
    assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", styles)
    # What the theme's own script could fetch belongs to diagrams and repository links, which these pages do not have.
    for page in pages.values():
        assert 'class="mermaid"' not in page.text and 'data-md-component="source"' not in page.text


def test_readme_links_to_files() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if not urlsplit(link).scheme]
    assert links and [link for link in links if not (ROOT / link).exists()] == []
