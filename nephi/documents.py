"""Read JSON and TOML files with limits on size, nesting and numbers.

Python's parsers have no such limits: JSON is parsed recursively, the time for TOML grows with the cube of the depth of
nested tables, and both return integers of any length, which fail when they are converted or printed.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nephi.errors import DataError

JSON_BYTES = 2**28  # an index of a million images
TOML_BYTES = 2**18  # settings of nephi need 2,000; tomllib parses a megabyte per second
MAX_DEPTH = 32  # tables of nephi need 4, markups of 3-D Slicer 6
MAX_DIGITS = 300  # of an integer; more overflow a float
TOO_LARGE = 10**MAX_DIGITS
# Strings and comments (in which brackets and dots are text), dotted keys, brackets. An unterminated string matches the
# rest of the text, so that every character is matched once.
TOML_PARTS = re.compile(
    r'"""(?:\\.|[^\\])*?(?:"""|\\?\Z)|'
    + r"'''.*?(?:'''|\Z)"
    + r'|"(?:\\.|[^"\\\n])*"?|'
    + r"'[^'\n]*'?"
    + r"|#[^\n]*|[\[\]{}]|[.,=\n]",
    re.DOTALL,
)


def read_json(path: Path, what: str, limit: int = JSON_BYTES) -> Any:
    """Read a JSON file in UTF-8; `what` describes the expected contents in errors.

    Raises `DataError` naming the file when it cannot be read, is larger than `limit` bytes, is not JSON, or exceeds the
    limits of `parse_json`.
    """
    return _read(path, what, limit, parse_json)


def read_toml(path: Path, what: str, limit: int = TOML_BYTES) -> dict[str, Any]:
    """Read a TOML file; errors as for `read_json`, limits as for `parse_toml`."""
    table: dict[str, Any] = _read(path, what, limit, parse_toml)
    return table


def parse_json(text: str) -> Any:
    """Parse JSON; raise `DataError` for malformed text, lists and objects nested deeper than 32, and huge numbers."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        position = f"line {error.lineno}, column {error.colno}"
        raise DataError(f"expected JSON, found an error in {position} ({error.msg}); is the file complete?") from None
    except RecursionError:
        raise _depth_error() from None
    except ValueError:  # Python's limit on digits
        raise _digits_error() from None
    _require_bounded(value)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML; raise `DataError` for malformed text, tables and lists nested deeper than 32, and huge numbers."""
    _require_shallow_toml(text)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"expected TOML, found an error: {error}") from None
    except RecursionError:
        raise _depth_error() from None
    except ValueError as error:
        raise (
            _digits_error() if "digits" in str(error) else DataError(f"expected TOML, found an error: {error}")
        ) from None
    _require_bounded(table)
    return table


def is_unicode(text: str) -> bool:
    """Return whether UTF-8 can encode a text: it has no lone surrogates, which JSON escapes can produce."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _read(path: Path, what: str, limit: int, parse: Callable[[str], Any]) -> Any:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise DataError(f"{path}: expected {what} of at most {limit / 2**20:g} MiB, found more")
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected {what}") from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or null characters in the path
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: expected {what}, could not read it ({reason})") from None
    try:
        return parse(text)
    except DataError as error:
        raise DataError(f"{path}: expected {what}, could not read it ({error})") from None


def _require_bounded(value: Any) -> None:
    """Raise `DataError` for nesting beyond `MAX_DEPTH` and integers beyond `MAX_DIGITS`, without recursion."""
    pending = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if isinstance(item, dict | list):
            if depth > MAX_DEPTH:
                raise _depth_error()
            children = item.values() if isinstance(item, dict) else item
            pending += [(child, depth + 1) for child in children if isinstance(child, dict | list | int)]
        elif isinstance(item, int) and abs(item) >= TOO_LARGE:
            raise _digits_error()


def _require_shallow_toml(text: str) -> None:
    """Raise `DataError` for brackets nested beyond `MAX_DEPTH` or keys of more parts, in one pass over the text."""
    brackets = parts = 0
    for token in TOML_PARTS.finditer(text):
        match token.group():
            case "[" | "{":
                brackets += 1
            case "]" | "}":
                brackets -= 1
            case ".":
                parts += 1
            case "=" | "," | "\n":
                parts = 0
        if max(brackets, parts) >= MAX_DEPTH:
            raise _depth_error()


def _depth_error() -> DataError:
    return DataError(f"expected tables and lists nested at most {MAX_DEPTH} deep, found more")


def _digits_error() -> DataError:
    return DataError(f"expected numbers of at most {MAX_DIGITS} digits, found a longer one")
