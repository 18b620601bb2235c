"""JSON and TOML with limits."""

import json
import time
from pathlib import Path

import pytest

from nephi.documents import MAX_DEPTH, is_unicode, parse_json, parse_toml, read_json, read_toml
from nephi.errors import DataError


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def test_valid_documents() -> None:
    assert parse_json('{"a": [1, -2.5, null, true, "\\u00e9"]}') == {"a": [1, -2.5, None, True, "é"]}
    assert parse_toml('a = [1.5, 2.5]\n[b.c]\nd = "x.[[[y"  # [[[[.....\ne = """\n[["""') == {
        "a": [1.5, 2.5],
        "b": {"c": {"d": "x.[[[y", "e": "[["}},
    }
    assert parse_toml("a = [\n" + "1.0,\n" * 1000 + "]\n")["a"] == [1.0] * 1000
    assert parse_json(nested(MAX_DEPTH)) is not None


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 900, 100_000])
def test_deep_json_is_refused(depth: int) -> None:
    for text in (nested(depth), '{"a":' * depth + "1" + "}" * depth):
        with pytest.raises(DataError, match="nested at most 32 deep"):
            parse_json(text)


@pytest.mark.parametrize("digits", [301, 4300, 5000])
def test_numbers_of_many_digits_are_refused(digits: int) -> None:
    for parse, text in ((parse_json, f"[{'1' * digits}]"), (parse_toml, f"a = -{'1' * digits}")):
        with pytest.raises(DataError, match="at most 300 digits"):
            parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(f"[{'.'.join(['a'] * i)}]" for i in range(1, 1500)),
        f"a = {nested(10_000)}",
        "a = " + "{b = " * 1500 + "1" + "}" * 1500,
        ".".join("a" * 50_000) + " = 1",
        f"[[{'.'.join(['a'] * 1500)}]]",
    ],
)
def test_deep_toml_is_refused_quickly(text: str) -> None:
    start = time.process_time()
    with pytest.raises(DataError, match="nested at most 32 deep"):
        parse_toml(text)
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    "text",
    [
        "'" * 200_001,
        'a = "' + "\\" * 200_000,
        'a = "' + '\\"' * 100_000,
        'a = """' + 'x"' * 100_000,
        'a = """' + '\\"""' * 50_000 + "\\",
        '"""' * 60_000,
    ],
)
def test_unterminated_quotes_take_linear_time(text: str) -> None:
    start = time.process_time()
    with pytest.raises(DataError, match="expected TOML, found an error"):
        parse_toml(text)
    assert time.process_time() - start < 2


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for read in (read_json, read_toml):
        path.unlink(missing_ok=True)
        with pytest.raises(DataError, match=r"x\.json: no such file; expected a thing"):
            read(path, "a thing")
        path.write_bytes(b"\xff")
        with pytest.raises(DataError, match=r"x\.json: expected a thing, could not read it .*utf-8"):
            read(path, "a thing")
        path.write_bytes(b"#" * 100)
        with pytest.raises(DataError, match=r"x\.json: expected a thing of at most .* MiB"):
            read(path, "a thing", limit=99)
        path.write_bytes(b"[")
        with pytest.raises(DataError, match=r"x\.json: "):
            read(path, "a thing")
        with pytest.raises(DataError, match=r"could not read it \(File name too long\)"):
            read(tmp_path / ("n" * 300), "a thing")
        with pytest.raises(DataError, match=r"could not read it \(Is a directory\)"):
            read(tmp_path, "a thing")


def test_lone_surrogates() -> None:
    assert is_unicode("é\U0001f600")
    assert not is_unicode(json.loads('"\\ud800"'))
