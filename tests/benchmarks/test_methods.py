"""The other tools of the comparison have a driver each, and the packages that their environments install."""

import pytest
from methods import HERE, PEERS, Method


@pytest.mark.parametrize("method", PEERS, ids=lambda method: method.name)
def test_every_peer_has_a_driver_and_a_pinned_package(method: Method) -> None:
    assert (HERE / "peers" / f"run_{method.driver or method.environment}.py").is_file()
    assert method.imports.startswith("import ")
    if method.environment:
        pinned = (HERE / f"requirements-{method.environment}.txt").read_text(encoding="utf-8").lower()
        assert f"{method.package.lower()}==" in pinned
