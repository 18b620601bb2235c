"""Common settings by keyword: those of `nephi.register(..., similarity="mind")`, and the options of commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict, get_type_hints

from nephi.argument_types import described, matches, shown
from nephi.errors import UsageError
from nephi.settings.changes import with_similarity
from nephi.settings.registration import ChannelSettings, ImageSettings, LevelSettings, Settings
from nephi.tables import from_table

Window = Sequence[float]


class Options(TypedDict, total=False):
    """Settings that may be given by keyword; they override those of `settings` or a preset.

    transform: `deformable`, or only `affine` or `rigid`.
    similarity: a similarity or a sum such as `lncc2 + 10 mse`; a list has one for each channel.
    window: intensities `(low, high)`, clipped outside; a list of pairs has one for each channel.
    outside: value of warped voxels outside the moving image.
    threads: CPU threads; 0: all physical cores, at most 8.
    levels: the levels of the fit, coarse to fine, as `LevelSettings` or tables of their fields.
    """

    transform: str
    similarity: str | Sequence[str]
    window: Window | Sequence[Window]
    outside: float
    threads: int
    levels: Sequence[LevelSettings | Mapping[str, Any]]


def with_options(settings: Settings, options: Mapping[str, Any], channels: int = 1) -> Settings:
    """Return the settings with `Options` for a registration of so many channels.

    Raises `UsageError` naming the option, and what is allowed, for an unknown name or a wrong value.
    """
    hints = get_type_hints(Options)
    for name, value in options.items():
        if name not in hints:
            raise UsageError(
                f"{name}: unknown option; expected one of {', '.join(hints)} (other settings: settings=..., by "
                "dataclasses.replace or a TOML file)"
            )
        if not matches(value, hints[name]):
            raise UsageError(f"{name}: expected {described(hints[name])}, got {shown(value)}")
    similarity, window = options.get("similarity"), options.get("window")
    similarities = () if similarity is None else (similarity,) if isinstance(similarity, str) else tuple(similarity)
    windows = () if window is None else (window,) if _is_window(window) else tuple(window)
    settings = with_channel_values(settings, similarities, windows, channels)
    if "outside" in options:
        settings = replace(settings, image=replace(settings.image, outside=options["outside"]))
    if "levels" in options:
        settings = replace(settings, levels=tuple(map(_level, options["levels"], range(len(options["levels"])))))
    return replace(settings, **{name: options[name] for name in ("transform", "threads") if name in options})


def with_channel_values(
    settings: Settings, similarities: Sequence[str], windows: Sequence[Window], channels: int
) -> Settings:
    """Return the settings with similarities and windows: none, one for all channels, or one for each.

    Raises `UsageError` naming `similarity` or `window` for another number of them, and for wrong values.
    """
    for name, values in (("similarity", similarities), ("window", windows)):
        if len(values) not in (0, 1, channels):
            expected = "one" if channels == 1 else f"one, or one for each of {channels} channels"
            raise UsageError(f"{name}: expected {expected}, got {len(values)}")
    tables = list(settings.channels)
    if len(similarities) == 1:
        settings = with_similarity(settings, similarities[0])
        tables = [replace(table, similarity="") for table in tables]
    if len(windows) == 1:
        settings = replace(settings, image=replace(settings.image, window=_window(windows[0])))
        tables = [replace(table, window=()) for table in tables]
    if channels > 1 and max(len(similarities), len(windows)) > 1:
        tables = tables or [ChannelSettings()] * channels
        if len(similarities) > 1:
            tables = [replace(table, similarity=name) for table, name in zip(tables, similarities, strict=True)]
        if len(windows) > 1:
            tables = [replace(table, window=_window(each)) for table, each in zip(tables, windows, strict=True)]
    return replace(settings, channels=tuple(tables))


def _is_window(window: Window | Sequence[Window]) -> bool:
    return matches(window, Sequence[float])


def _window(window: Window) -> tuple[float, ...]:
    """Return a window as plain numbers; an empty one would silently mean that of the percentiles."""
    if len(window) != 2:
        raise UsageError(f"window: expected two numbers, low and high, got {len(window)}")
    return ImageSettings(window=tuple(map(float, window))).window


def _level(level: LevelSettings | Mapping[str, Any], number: int) -> LevelSettings:
    return level if isinstance(level, LevelSettings) else from_table(LevelSettings, level, f"levels[{number}].")
