"""Every code block of the documentation runs, page by page in an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import pages

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]


@pytest.mark.parametrize("page", [p for p in PAGES if pages.steps_of(p)], ids=lambda p: str(p.relative_to(ROOT)))
def test_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    skipped = pages.run(page, tmp_path)
    if skipped:
        pytest.skip(f"all other blocks ran; {'; '.join(skipped)}")
