"""The other tools of the comparison have a driver each, and the packages that their environments install."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType


def test_every_peer_has_a_driver_and_a_pinned_package(script: Callable[[str], ModuleType]) -> None:
    methods = script("methods.py")
    assert len(methods.PEERS) == 8
    for method in methods.PEERS:
        assert (methods.HERE / "peers" / f"run_{method.driver or method.environment}.py").is_file(), method.name
        assert method.imports.startswith("import "), method.name
        if method.environment:
            requirements = methods.HERE / f"requirements-{method.environment}.txt"
            assert f"{method.package.lower()}==" in requirements.read_text(encoding="utf-8").lower(), method.name
