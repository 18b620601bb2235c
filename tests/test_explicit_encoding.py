"""Every call that reads text names its encoding: Python's default follows the user's locale, which may be ASCII.

Read from the syntax tree, in the tests as well, because a test that passes in one locale only says nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("nephi", "cli", "data_scripts", "benchmarks", "tests")
SOURCES = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))


def unnamed(source: str) -> Iterator[int]:
    """Yield the lines of calls of `read_text` without an encoding."""
    for node in ast.walk(ast.parse(source)):
        by_method = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if by_method and node.func.attr == "read_text" and not (node.args or node.keywords):
            yield node.lineno


def test_every_reading_of_text_names_its_encoding() -> None:
    calls = [
        f"{path.relative_to(ROOT)}:{line}" for path in SOURCES for line in unnamed(path.read_text(encoding="utf-8"))
    ]
    assert not calls, f"{calls}: expected read_text(encoding=...), found calls without it"


@pytest.mark.parametrize(("call", "count"), [("p.read_text()", 1), ('p.read_text(encoding="utf-8")', 0)])
def test_calls_without_an_encoding_are_detected(call: str, count: int) -> None:
    assert len(list(unnamed(call))) == count
