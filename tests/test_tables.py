from dataclasses import asdict, dataclass, field

import pytest

from nephi.errors import UsageError
from nephi.fields import FieldSettings
from nephi.tables import from_table


@dataclass(frozen=True)
class Inner:
    count: int = 1
    sizes: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    pair: tuple[float, float] = (1.0, 2.0)
    name: str = "x"
    on: bool = False


def test_round_trip() -> None:
    settings = FieldSettings(encoding="hash", spacings=(9.0,), inverse=False)
    assert from_table(FieldSettings, asdict(settings)) == settings


def test_missing_keys_have_their_defaults() -> None:
    assert from_table(Outer, {}) == Outer()
    assert from_table(Outer, {"inner": {"count": 3}}) == Outer(inner=Inner(count=3))


def test_whole_numbers_are_accepted_as_numbers() -> None:
    settings = from_table(Outer, {"pair": [3, 4.5], "inner": {"sizes": [1, 2, 3]}})
    assert settings.pair == (3.0, 4.5) and settings.inner.sizes == (1.0, 2.0, 3.0)
    assert all(type(v) is float for v in (*settings.pair, *settings.inner.sizes))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"size": 1}, "size: unknown setting; expected one of inner, pair, name, on"),
        ({"inner": {"counts": 1}}, r"inner\.counts: unknown setting; expected one of inner\.count, inner\.sizes"),
        ({"inner": 5}, r"inner\.?: expected a table, got 5"),
        ({"inner": {"count": 1.0}}, r"inner\.count: expected a whole number, got 1\.0"),
        ({"inner": {"count": True}}, r"inner\.count: expected a whole number, got True"),
        ({"inner": {"sizes": 1.0}}, r"inner\.sizes: expected a list .*, got 1\.0"),
        ({"inner": {"sizes": [1.0, "2"]}}, r"inner\.sizes\[1\]: expected a number, got '2'"),
        ({"pair": [1.0]}, r"pair: expected a list .*, got \[1\.0\]"),
        ({"pair": [True, 1.0]}, r"pair\[0\]: expected a number, got True"),
        ({"name": 3}, "name: expected a text, got 3"),
        ({"on": 1}, "on: expected true or false, got 1"),
        ({"pair": [10**4000, 1.0]}, r"pair\[0\]: expected a number, got 1000.*\.\.\..*0$"),
        ({"inner": {"count": 10**20}}, r"inner\.count: expected a whole number below 2\^53, got 1"),
        ({"inner": {"sizes": [1.0] * 1001}}, r"inner\.sizes: expected a list of at most 1000 values, got 1001"),
        ({"name": ["x" * 10**6] * 10**5}, r"name: expected a text, got .{1,300}$"),
    ],
)
def test_invalid_tables_are_refused_by_key(table, message) -> None:
    with pytest.raises(UsageError, match=f"^{message}"):
        from_table(Outer, table)


@pytest.mark.parametrize("table", [None, 5, "text", [1]])
def test_other_values_than_tables_are_refused(table) -> None:
    with pytest.raises(UsageError, match="settings: expected a table"):
        from_table(Outer, table)
