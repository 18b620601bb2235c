"""Every code block of the documentation runs, page by page in an empty folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from . import pages

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]


@pytest.mark.parametrize("page", [p for p in PAGES if pages.steps_of(p)], ids=lambda p: str(p.relative_to(ROOT)))
def test_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = tmp_path / "work"
    folder.mkdir()
    if "examples" in page.parts:  # a page of the folder that it describes
        shutil.copytree(page.parent, folder, dirs_exist_ok=True)
    skipped = pages.run(page, folder)
    if skipped:
        pytest.skip(f"all other blocks ran; {'; '.join(skipped)}")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_pages_start_from_the_study(page: Path) -> None:
    """A page that uses files of the study writes it first: the tests prepare none."""
    steps = [step for step in pages.steps_of(page) if step.kind in ("bash", "python")]
    first = next((number for number, step in enumerate(steps) if "study/" in step.text), None)
    if first is not None:
        assert any("nephi demo --keep study\n" in step.text for step in steps[: first + 1])
