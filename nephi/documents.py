"""JSON and TOML with limits: what a file may hold is bounded before it is parsed, or right after it.

Both parsers take anything: Python's JSON reader recurses, its TOML reader needs a time that grows with the cube of the
depth of nested tables, and both make whole numbers of any length, which fail where they are converted or printed.
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
TOML_BYTES = 2**18  # settings of nephi have 2,000; tomllib reads a megabyte in a second
DEPTH = 32  # nephi's own tables: 4; Slicer's markups: 6
DIGITS = 300  # of a whole number: more do not fit into a float
BEYOND = 10**DIGITS
# Strings and comments, in which brackets and dots are text; keys with dots; brackets. A string without its end takes
# what follows, so that no text is looked at twice.
TOML_PARTS = re.compile(
    r'"""(?:\\.|[^\\])*?(?:"""|\\?\Z)|'
    + r"'''.*?(?:'''|\Z)"
    + r'|"(?:\\.|[^"\\\n])*"?|'
    + r"'[^'\n]*'?"
    + r"|#[^\n]*|[\[\]{}]|[.,=\n]",
    re.DOTALL,
)


def read_json(path: Path, what: str, limit: int = JSON_BYTES) -> Any:
    """Read a JSON file in UTF-8; `what` names in errors what it was expected to hold.

    Raises `DataError` naming the file when it cannot be read, is larger than `limit` bytes, is no JSON, or beyond the
    limits of `parse_json`.
    """
    return _parsed(path, what, limit, parse_json)


def read_toml(path: Path, what: str, limit: int = TOML_BYTES) -> dict[str, Any]:
    """Read a TOML file; errors as in `read_json`, limits as in `parse_toml`."""
    table: dict[str, Any] = _parsed(path, what, limit, parse_toml)
    return table


def parse_json(text: str) -> Any:
    """Parse JSON; raise `DataError` for malformed text, lists and objects nested deeper than 32, and huge numbers."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise DataError(f"expected JSON, found an error in {where} ({error.msg}); is it whole?") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:  # Python's limit of digits
        raise _too_long() from None
    _require_bounded(value)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML; raise `DataError` for malformed text, tables and lists nested deeper than 32, and huge numbers."""
    _require_shallow_toml(text)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"not a TOML file: {error}") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise (_too_long() if "digits" in str(error) else DataError(f"not a TOML file: {error}")) from None
    _require_bounded(table)
    return table


def is_unicode(text: str) -> bool:
    """Return whether UTF-8 can hold a text; not so halves of surrogate pairs, which escapes in JSON may stand for."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _parsed(path: Path, what: str, limit: int, parse: Callable[[str], Any]) -> Any:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise DataError(f"{path}: expected {what} of at most {limit / 2**20:g} MiB, found more")
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected {what}") from None
    except (OSError, ValueError) as error:  # also no UTF-8, and null characters in the path
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: expected {what}, could not read it ({reason})") from None
    try:
        return parse(text)
    except DataError as error:
        raise DataError(f"{path}: expected {what}, could not read it ({error})") from None


def _require_bounded(value: Any) -> None:
    """Raise `DataError` for what is nested deeper than `DEPTH`, and for numbers of more than `DIGITS`; no recursion."""
    pending = [(value, 1)]
    while pending:
        each, depth = pending.pop()
        if isinstance(each, dict | list):
            if depth > DEPTH:
                raise _too_deep()
            inner = each.values() if isinstance(each, dict) else each
            pending += [(item, depth + 1) for item in inner if isinstance(item, dict | list | int)]
        elif isinstance(each, int) and abs(each) >= BEYOND:
            raise _too_long()


def _require_shallow_toml(text: str) -> None:
    """Raise `DataError` for brackets nested deeper than `DEPTH`, or keys of more parts; in one pass over the text."""
    brackets = parts = 0
    for found in TOML_PARTS.finditer(text):
        match found.group():
            case "[" | "{":
                brackets += 1
            case "]" | "}":
                brackets -= 1
            case ".":
                parts += 1
            case "=" | "," | "\n":
                parts = 0
        if max(brackets, parts) >= DEPTH:
            raise _too_deep()


def _too_deep() -> DataError:
    return DataError(f"expected tables and lists nested at most {DEPTH} deep, found more")


def _too_long() -> DataError:
    return DataError(f"expected numbers of at most {DIGITS} digits, found a longer one")
