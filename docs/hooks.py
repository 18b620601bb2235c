"""Generate parts of the reference from the code: mkdocs calls `on_page_markdown` for each page.

| marker in a page | replaced by |
|---|---|
| `<!-- commands -->` | the help of every command |
| `<!-- settings -->` | the tables of the settings of a registration |
| `<!-- presets -->` | the files of the presets of a registration |
| `<!-- training presets -->` | the files of the presets of a training |
| `<!-- training -->` | the tables of the settings of a training |
| `<!-- comparison -->` | the tables of a comparison of models that a training does not have |
| `<!-- api NAME, NAME ... -->` | the documentation of names of the public API |

mkdocs-click is no substitute for the commands: it formats examples as running text, and shows click's marker for "no
default" as a default.
"""

from __future__ import annotations

import dataclasses
import html
import inspect
import re
from collections.abc import Mapping
from importlib import resources
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import click

import nephi
from nephi.cli.main import cli
from nephi.settings import ChannelSettings, LevelSettings, PresetFiles, TrainingObjectiveSettings


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return the page with its markers replaced."""
    markdown = markdown.replace("<!-- commands -->", commands())
    markdown = markdown.replace("<!-- settings -->", settings())
    markdown = markdown.replace("<!-- presets -->", presets(PresetFiles("nephi.settings")))
    markdown = markdown.replace("<!-- training presets -->", presets(PresetFiles("nephi.training")))
    markdown = markdown.replace("<!-- training -->", training(nephi.training.TrainSettings(), "") + phases())
    markdown = markdown.replace("<!-- comparison -->", comparison())
    return re.sub(r"<!-- api (.*?) -->", lambda match: api(match[1]), markdown, flags=re.DOTALL)


def api(names: str) -> str:
    """Return the directives that document names of the public API."""
    blocks = []
    for name in re.split(r",\s*", names.strip()):
        options = f'    options: {{ heading: "nephi.{name}", toc_label: "{name}", show_root_full_path: true }}'
        source = _source(name)
        if source != f"nephi.{name}":
            blocks.append(f"[](){{ #nephi.{name} }}")
        blocks.append(f"::: {source}\n{options}")
        if isinstance(value := attrgetter(name)(nephi), tuple | Mapping):
            blocks.append("Values: " + ", ".join(f"`{item}`" for item in value) + ".")
    return "\n\n".join(blocks)


def _source(name: str) -> str:
    """Return the dotted name by which a public name is documented: that of its room."""
    stub = (resources.files("nephi") / "__init__.pyi").read_text(encoding="utf-8")
    room = re.search(rf"^from \.(\w+) import {name} as", stub, flags=re.MULTILINE)
    return f"nephi.{room[1]}.{name}" if room else f"nephi.{name}"


def commands() -> str:
    """Return a section for each command: usage, description, examples, options."""
    context = click.Context(cli, info_name="nephi", **cli.context_settings)
    parts = [_command(cli, context)]
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        if command is not None and not command.hidden:
            parts.append(_command(command, click.Context(command, info_name=name, parent=context)))
    return "\n\n".join(parts)


def _command(command: click.Command, context: click.Context) -> str:
    usage = " ".join(command.collect_usage_pieces(context))
    records = [
        record for option in command.get_params(context) if (record := option.get_help_record(context)) and record[1]
    ]
    rows = [f"| {_code(names)} | {_cell(text)} |" for names, text in records]
    lines = [f"## {context.command_path}", f"```text\n{context.command_path} {usage}\n```"]
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        prose, _, text = paragraph.rpartition("\b\n")  # click's mark for lines that are not wrapped
        lines.append(f"```text\n{text}\n```" if "\b" in paragraph else prose + text)
    return "\n\n".join([*lines, "\n".join(["| option | meaning |", "|---|---|", *rows])])


def _code(names: str) -> str:
    return f"<code>{html.escape(names).replace('|', '&#124;')}</code>"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("[", "\\[").replace("<", "&lt;")


def presets(files: PresetFiles) -> str:
    """Return the file of every preset, below its name."""
    return "\n\n".join(f"### `{name}`\n\n```toml\n{files.text(name).strip()}\n```" for name in files.names())


def settings() -> str:
    """Return a section for each table of the settings: docstring, names, types and defaults."""
    defaults = nephi.Settings()
    tables = [f.name for f in dataclasses.fields(defaults) if dataclasses.is_dataclass(getattr(defaults, f.name))]
    plain = [f for f in dataclasses.fields(defaults) if f.name not in (*tables, "levels", "channels")]
    parts = [_section("At the top of the file", nephi.Settings, plain, defaults)]
    for name in tables:
        value = getattr(defaults, name)
        parts.append(_section(f"`[{name}]`", type(value), dataclasses.fields(value), value))
    level = LevelSettings()
    parts.append(_section("`[[levels]]`", LevelSettings, dataclasses.fields(level), level))
    channel = ChannelSettings()
    parts.append(_section("`[[channels]]`", ChannelSettings, dataclasses.fields(channel), channel))
    return "\n\n".join(parts)


def training(settings: Any, path: str) -> str:
    """Return a section for each table in `settings`, recursively; `path` is the prefix of their names."""
    parts = []
    for table in (f for f in dataclasses.fields(settings) if dataclasses.is_dataclass(getattr(settings, f.name))):
        value = getattr(settings, table.name)
        if isinstance(value, nephi.models.ModelSettings):
            parts += _models()
            continue
        plain = [f for f in dataclasses.fields(value) if not dataclasses.is_dataclass(getattr(value, f.name))]
        parts.append(_section(f"`[{path}{table.name}]`", type(value), plain, value))
        parts.append(training(value, f"{path}{table.name}."))
    return "\n\n".join(part for part in parts if part)


def phases() -> str:
    """Return the section of the phases of a training."""
    phase = nephi.training.PhaseSettings(1)
    return "\n\n" + _section("`[[phases]]`", type(phase), dataclasses.fields(phase), phase)


def comparison() -> str:
    """Return a section for the tables of budget and scoring of a comparison."""
    parts = []
    for name, kind in (("budget", nephi.comparison.BudgetSettings), ("scoring", nephi.comparison.ScoringSettings)):
        fields = dataclasses.fields(kind)
        defaults = SimpleNamespace(**{field.name: field.default for field in fields})  # not valid together
        parts.append(_section(f"`[{name}]`", kind, fields, defaults))
    return "\n\n".join(parts)


def _models() -> list[str]:
    """Return the sections of the table `[model]` of each kind of model; tables that several kinds have appear once."""
    parts = []
    for kind, model in nephi.models.MODELS.items():
        settings = model.Settings()
        plain = [f for f in dataclasses.fields(settings) if not dataclasses.is_dataclass(getattr(settings, f.name))]
        section = _section(f'`[model]` with `kind = "{kind}"`', model.Settings, plain, settings)
        nested = training(settings, "model.").split("\n\n### ")
        parts += [section + _objective_defaults(model.default_objective)]
        parts += [each for each in (f"### {part.removeprefix('### ')}" for part in nested if part) if each not in parts]
    return parts


def _objective_defaults(objective: TrainingObjectiveSettings) -> str:
    """Return a sentence with the values of a model's default objective that differ from the common defaults."""
    common = TrainingObjectiveSettings()
    values = {f.name: getattr(objective, f.name) for f in dataclasses.fields(common)}
    changed = [f"`{name}` = {_toml(value)}" for name, value in values.items() if value != getattr(common, name)]
    return f"\n\nDefaults of `[objective]` for this model: {', '.join(changed)}." if changed else ""


def _section(title: str, kind: type, fields: Any, value: Any) -> str:
    rows = [f"| `{field.name}` | {_type(field.type)} | {_toml(getattr(value, field.name))} |" for field in fields]
    table = "\n".join(["| setting | type | default |", "|---|---|---|", *rows])
    return f"### {title}\n\n{_prose(kind, {field.name for field in dataclasses.fields(kind)})}\n\n{table}"


def _prose(kind: type, names: set[str]) -> str:
    """Convert a docstring to Markdown: `name: text` becomes a list item, and names of settings become code."""
    lines: list[str] = []
    for line in _documentation(kind, names).splitlines():
        entry = re.match(r"((?:\w+, )*\w+): (.*)", line)
        if entry and set(entry[1].split(", ")) & names:
            if lines and lines[-1] and not lines[-1].startswith(("- ", "  ")):
                lines.append("")
            code = ", ".join(f"`{name}`" for name in entry[1].split(", "))
            lines.append(f"- {code}: {entry[2]}")
        elif line and not line.startswith(" ") and lines and lines[-1].startswith(("- ", "  ")):
            lines += ["", line]
        else:
            lines.append(f"  {line.strip()}" if line.startswith(" ") else line)
    return "\n".join(lines)


def _documentation(kind: type, names: set[str]) -> str:
    """Return the docstring of a class, followed by those of its bases until all of `names` are mentioned."""
    texts: list[str] = []
    for base in kind.__mro__[:-1]:
        text = "\n\n".join(texts)
        if not all(re.search(rf"\b{name}\b", text) for name in names):
            texts.append(inspect.cleandoc(base.__doc__ or ""))
    return "\n\n".join(texts)


def _type(annotation: str) -> str:
    known = {
        "dict[str, Any]": "table",
        "str": "text",
        "int": "whole number",
        "float": "number",
        "bool": "`true` or `false`",
    }
    if annotation in known:
        return known[annotation]
    return "two numbers" if annotation == "tuple[float, float]" else "list of numbers"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"
