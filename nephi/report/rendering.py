"""Filling in the templates of pages."""

from __future__ import annotations

from pathlib import Path

from nephi.errors import printable


def rendered(name: str, **values: object) -> str:
    """Return a file of `templates` filled in; everything that is put into it is escaped for HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_shown,
    )
    text: str = environment.get_template(name).render(**values)
    return text


def _shown(value: object) -> object:
    """Escape control characters in texts: file names may turn the direction of writing, or hold no UTF-8 at all."""
    from markupsafe import Markup

    if isinstance(value, str) and not isinstance(value, Markup):
        return "\n".join(map(printable, value.split("\n")))
    return value
