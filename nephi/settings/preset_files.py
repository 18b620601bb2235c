"""The files of presets: settings in TOML that are part of a package."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from nephi.errors import UsageError

SUFFIX = ".toml"


@dataclass(frozen=True)
class PresetFiles:
    """The presets of a package: the files `presets/NAME.toml`, each with a comment in its first line."""

    package: str

    @property
    def _folder(self) -> Traversable:
        return resources.files(self.package) / "presets"

    def names(self) -> tuple[str, ...]:
        """Return the names in alphabetical order."""
        files = [file.name for file in self._folder.iterdir()]
        return tuple(sorted(name.removesuffix(SUFFIX) for name in files if name.endswith(SUFFIX)))

    def text(self, name: str) -> str:
        """Return the text of a preset; raise `UsageError`, listing the known names, for an unknown one."""
        if name not in self.names():
            raise UsageError(f"preset: expected one of {', '.join(self.names())}, got {name!r}")
        return (self._folder / f"{name}{SUFFIX}").read_text(encoding="utf-8")

    def table(self, name: str) -> dict[str, Any]:
        """Return the content of a preset; errors as `text`."""
        return tomllib.loads(self.text(name))

    def title(self, name: str) -> str:
        """Return the comment in the first line of a preset; errors as `text`."""
        return self.text(name).partition("\n")[0].removeprefix("#").strip()
