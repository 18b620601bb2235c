"""Validation of the arguments of public functions and of settings by their annotations.

A wrong argument ends in a `UsageError` that names it, what is allowed and what was given, before anything is computed;
not in an error from inside. Values are not converted. Annotations that accept anything with some methods (protocols,
numpy's `ArrayLike`) are not validated here: their functions convert and validate them.
"""

from __future__ import annotations

import dataclasses
import inspect
import reprlib
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache, wraps
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from nephi.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)

WORDS = {float: "a number", int: "a whole number", str: "a text", bool: "True or False", Path: "a path", None: "None"}
SHOWN = (str, int, float, complex, type(None))  # types whose values are quoted, of others only the type


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a public function: raise `UsageError` for arguments that are unknown, missing, or of another type."""
    signature = inspect.signature(function)

    @wraps(function)
    def wrapper(*arguments: P.args, **options: P.kwargs) -> R:
        _check_call(function.__name__, signature, _hints(function), arguments, options)
        return function(*arguments, **options)

    return wrapper


def checked_fields(settings: C) -> C:
    """Decorate a dataclass of settings: raise `UsageError` for values of another type than its fields.

    Lists and arrays become tuples, as settings are compared and do not change.
    """
    create = settings.__init__  # type: ignore[misc]
    signature = inspect.signature(create)
    table = _table_of(settings.__name__)

    @wraps(create)
    def __init__(self: Any, *arguments: Any, **options: Any) -> None:
        hints = _field_hints(settings)
        values = _check_call(table, signature, hints, (self, *arguments), options)
        for name, value in values.items():
            if get_origin(hints.get(name)) is tuple and not isinstance(value, tuple):
                values[name] = tuple(value.tolist() if hasattr(value, "tolist") else value)
        create(**values)

    settings.__init__ = __init__  # type: ignore[misc]
    return settings


def _check_call(
    name: str, signature: inspect.Signature, hints: Mapping[str, Any], arguments: tuple[Any, ...], options: Any
) -> dict[str, Any]:
    """Return the arguments by their names; raise `UsageError` for those that are unknown, missing or do not match."""
    try:
        bound = signature.bind(*arguments, **options)
    except TypeError as error:
        known = [each for each in signature.parameters if each not in ("self", "cls")]
        unknown = [each for each in options if each not in known]
        problem = f"unknown argument {unknown[0]!r}" if unknown else str(error)
        raise UsageError(f"{name}: {problem}; expected {', '.join(known)}") from None
    for argument, value in bound.arguments.items():
        if argument in hints and not matches(value, hints[argument]):
            raise UsageError(f"{argument}: expected {described(hints[argument])}, got {shown(value)}")
    return dict(bound.arguments)


@cache
def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the types of the parameters of a function; those of `*args` and `**options` are left out."""
    parameters = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    written = {p.name: p.annotation for p in parameters if p.kind not in kinds and p.annotation is not p.empty}
    inner = inspect.unwrap(function)
    return typing.get_type_hints(types.SimpleNamespace(__annotations__=written), inner.__globals__)


@cache
def _field_hints(settings: type) -> Mapping[str, Any]:
    hints = typing.get_type_hints(settings)
    return {field.name: hints[field.name] for field in dataclasses.fields(settings) if field.init}


def matches(value: Any, hint: Any) -> bool:
    """Return whether a value is of an annotated type; numbers of numpy count as numbers, truth values do not."""
    origin, inner = get_origin(hint), get_args(hint)
    if str(getattr(origin or hint, "__module__", "")).partition(".")[0] == "numpy":
        return True  # `ArrayLike`
    if hint is None or hint is type(None):
        return value is None
    if hint is bool:
        return isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")  # of numpy 2 and 1
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    if hint is Path:
        return isinstance(value, PathLike)
    if origin in (Union, types.UnionType):
        return any(matches(value, each) for each in inner)
    if origin is Literal:
        return value in inner
    if origin is tuple or (isinstance(origin, type) and issubclass(origin, typing.Collection)):
        return _matches_collection(value, origin, inner)
    if isinstance(origin, type):
        return isinstance(value, origin)  # Callable, type
    if isinstance(hint, type) and not _is_open_protocol(hint):
        return isinstance(value, hint)
    return True


def _matches_collection(value: Any, origin: Any, inner: tuple[Any, ...]) -> bool:
    """Return whether a value is a mapping, or a list, tuple or array whose elements match."""
    if issubclass(origin, Mapping) or isinstance(value, Mapping):
        return issubclass(origin, Mapping) and isinstance(value, Mapping)
    if isinstance(value, str | bytes) or not hasattr(value, "__len__") or not hasattr(value, "__iter__"):
        return False
    try:
        elements = list(value)
    except TypeError:  # an array without axes
        return False
    if origin is tuple and inner and inner[-1] is not ...:
        return len(elements) == len(inner) and all(map(matches, elements, inner))
    return not inner or all(matches(element, inner[0]) for element in elements)


def _is_open_protocol(hint: type) -> bool:
    return getattr(hint, "_is_protocol", False) and not getattr(hint, "_is_runtime_protocol", False)


def described(hint: Any) -> str:
    """Return an annotated type in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        words = ["an array" if _is_part_of_arrays(each) else described(each) for each in inner]
        paths = {"a text", "a path"} <= set(words)  # `str | Path`
        return " or ".join(dict.fromkeys(word for word in words if not (paths and word == "a text")))
    if hint is type(None):
        return "None"
    if hint in WORDS:
        return WORDS[hint]
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin is tuple and inner[-1] is not ...:
        return f"({', '.join(map(described, inner))})"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a table"
    if isinstance(origin, type) and issubclass(origin, typing.Collection):
        return f"a list ({described(inner[0])} each)"
    if isinstance(origin, type):
        return "a function"
    package, _, _ = str(getattr(hint, "__module__", "")).partition(".")
    return f"{package}.{getattr(hint, '__name__', hint)}"


def _is_part_of_arrays(hint: Any) -> bool:
    """Return whether a member of a union is one of the many of numpy's `ArrayLike`."""
    package = str(getattr(get_origin(hint) or hint, "__module__", "")).partition(".")[0]
    return package == "numpy" or hint in (complex, bytes) or getattr(hint, "__name__", "") == "Buffer"


def shown(value: Any) -> str:
    """Return a value that is short, or the type of another one, for messages."""
    if isinstance(value, SHOWN):
        return reprlib.repr(value)
    if isinstance(value, list | tuple) and all(isinstance(each, SHOWN) for each in value):
        return reprlib.repr(value)
    return type_name(value)


def type_name(value: Any) -> str:
    """Return the name of the type of an object with its package, for messages; that of a built-in type alone."""
    kind = type(value)
    if value is None:
        return "None"
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__.partition('.')[0]}.{kind.__name__}"


def _table_of(name: str) -> str:
    return name.removesuffix("Settings").lower() or "settings"
