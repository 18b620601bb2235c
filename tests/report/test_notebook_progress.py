"""The progress bar of notebooks.

IPython is no dependency: the display is a double that records what it is given; no browser draws it here.
"""

import re
import sys
from types import SimpleNamespace
from typing import Any

import pytest

import nephi
from nephi.report import notebook_progress
from nephi.report.notebook_progress import progress_shown
from nephi.runtime import Progress, ignore_progress


class Display:
    """The functions of `IPython.display` that the bar uses."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def HTML(self, text: str) -> str:
        return text

    def display(self, text: str, display_id: bool) -> Any:
        self.shown.append(text)
        return SimpleNamespace(update=self.shown.append)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Display:
    display = Display()
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "IPython.display", display)  # type: ignore[arg-type]
    return display


def test_a_registration_shows_and_removes_its_bar(notebook: Display) -> None:
    pair = nephi.phantoms.shapes_phantom(shape=(24, 24))
    nephi.register(pair.fixed, pair.moving, levels=[{"steps": 2}])
    assert "prepare" in notebook.shown[0] and notebook.shown[-1] == ""
    assert any(re.search(r'value="[01]\.\d{4}" max="1"></progress> \w+ \d+ %, loss ', text) for text in notebook.shown)


def test_false_and_own_callbacks(notebook: Display) -> None:
    calls: list[Progress] = []
    with progress_shown(False) as progress:
        assert progress is ignore_progress
    with progress_shown(calls.append) as progress:
        progress(Progress("fit", 1, 2, 0.5))
    assert len(calls) == 1 and notebook.shown == []


def test_nothing_outside_of_notebooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    with progress_shown(True) as progress:
        assert progress is ignore_progress
    for shell in (None, SimpleNamespace()):  # a script; a terminal
        double: Any = SimpleNamespace(get_ipython=lambda shell=shell: shell)
        monkeypatch.setitem(sys.modules, "IPython", double)
        assert notebook_progress.notebook_display() is None


def test_updates_are_rare_and_escaped(notebook: Display, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 0.1, 0.15, 0.4, 0.45, 3.0])
    monkeypatch.setattr(notebook_progress.time, "monotonic", lambda: next(now))
    with progress_shown(True) as progress:
        for step in range(1, 5):
            progress(Progress("<fit>", step, 10, 0.25))
    assert len(notebook.shown) == 3  # the start, the step at 0.4 s, the end
    assert "&lt;fit&gt; 30 %, loss 0.2500, 1 s left" in notebook.shown[1]
    with pytest.raises(KeyboardInterrupt), progress_shown(True):
        monkeypatch.undo()
        raise KeyboardInterrupt
