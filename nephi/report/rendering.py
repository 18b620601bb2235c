"""Filling in the templates of pages."""

from __future__ import annotations

from pathlib import Path


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
    )
    text: str = environment.get_template(name).render(**values)
    return text
