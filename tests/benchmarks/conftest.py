"""Import the scripts of benchmarks/, which are no package: they import each other by their file names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Yield a function that imports a script, given its path below benchmarks/; all are forgotten after the test."""
    names = {path.stem for path in (ROOT / "benchmarks").rglob("*.py")}
    others = {name: sys.modules.pop(name) for name in names & sys.modules.keys()}

    def load(path: str) -> ModuleType:
        file = ROOT / "benchmarks" / path
        monkeypatch.syspath_prepend(str(file.parent))
        return importlib.import_module(file.stem)

    yield load
    for name in names:
        sys.modules.pop(name, None)
    sys.modules.update(others)
