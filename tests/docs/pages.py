"""Run the code blocks of a Markdown page in order in one folder.

Existing packages do not suit: pytest-examples, pytest-markdown-docs and mktestdocs run Python or one language at a time
(here shell and Python blocks alternate), and sybil collects pages as tests outside of tests/. HTML comments in a page
control the run:

    <!-- needs: NAME -->    run the next block only if NAME is an existing module or program, else report it as skipped
    <!-- requires: NAME -->   the same for all following blocks
    <!-- short: NAME = N -->  run the next block with this assignment in place of its own of NAME: fewer steps

Pages start from the study that `nephi demo --keep study` writes. That command, and the registration that many pages
continue with, run once: pages with the same command lines get copies of their folders.

A block of the language `output` contains the output of the block before it. Numbers with decimals may differ by one
unit of the last decimal on the page, or by 2 %, because fits differ slightly between machines. Integers must be equal.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from nephi.cli.main import main

from . import programs

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*).*\n(?P<code>(?:.*\n)*?)(?P=indent)```\s*$", re.MULTILINE)
COMMENT = re.compile(r"<!-- (?P<key>needs|requires|short): (?P<value>[\w.]+(?: = \w+)?) -->")
SHARED = {  # command lines by the folder that they write
    "study": ["demo", "--keep", "study"],
    "result": shlex.split(
        "register -f study/exhale.nii.gz -m study/inhale.nii.gz -o result --preset lung-ct "
        "--fixed-mask study/exhale_lungs.nii.gz --moving-mask study/inhale_lungs.nii.gz"
    ),
}
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class Step:
    """A block or a comment of a page, with its first line."""

    kind: str
    text: str
    line: int


class BlockError(AssertionError):
    """A block failed or printed another output."""


def steps_of(page: Path) -> list[Step]:
    """Return the blocks and the comments that control them, in order."""
    text = page.read_text(encoding="utf-8")
    matches = [(m.start(), m.start("code"), m["language"], _dedent(m)) for m in FENCE.finditer(text)]
    matches += [(m.start(), m.start(), m["key"], m["value"]) for m in COMMENT.finditer(text)]
    return [Step(kind, code, text.count("\n", 0, offset) + 1) for _, offset, kind, code in sorted(matches)]


def run(page: Path, folder: Path) -> list[str]:
    """Run the steps of a page in `folder`; return the skipped blocks. Raises `BlockError` with page and line."""
    names: dict[str, Any] = {"__name__": "__main__"}
    missing, short, printed, skipped, lacks_all = "", "", None, [], False
    with contextlib.chdir(folder):
        for step in steps_of(page):
            where = f"{page.name}, line {step.line}"
            match step.kind:
                case "needs" | "requires" if not lacks_all:
                    missing = "" if _is_available(step.text) else step.text
                    lacks_all = bool(missing) and step.kind == "requires"
                case "short":
                    short = step.text
                case "bash" | "python" if missing:
                    skipped.append(f"{where} needs {missing}")
                    missing, printed = missing if lacks_all else "", None
                case "bash":
                    printed = _shell(step.text, folder, where)
                case "python":
                    printed = _python(_shortened(step, short, where), page, names, where)
                    short = ""
                case "output" if printed is not None:
                    _compare(step.text, printed, where)
    return skipped


def _dedent(match: re.Match[str]) -> str:
    return re.sub(f"^{match['indent']}", "", match["code"], flags=re.MULTILINE)


def _is_available(name: str) -> bool:
    return importlib.util.find_spec(name) is not None or shutil.which(name, path=_path()) is not None


def _path() -> str:
    """Return PATH with `nephi` of this interpreter and the programs of other tools that are installed as packages."""
    return os.pathsep.join([sysconfig.get_path("scripts"), str(programs.folder()), os.environ["PATH"]])


def _shell(code: str, folder: Path, where: str) -> str:
    joined = code.replace("\\\n", "")
    if re.fullmatch(r"(nephi [^|&;<>$`*\\\n]*\n)+", joined):
        return "".join(_command_or_copy(shlex.split(line)[1:], folder, where) for line in joined.splitlines())
    environment = {**os.environ, "PATH": _path()}
    command = ["bash", "-euo", "pipefail", "-c", code]
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    if process.returncode:
        raise BlockError(f"{where}: exit code {process.returncode}\n{code}\n{process.stdout}{process.stderr}")
    return process.stdout


def _command_or_copy(arguments: list[str], folder: Path, where: str) -> str:
    for name, command in SHARED.items():
        if arguments == command:
            shutil.copytree(_shared_folder() / name, folder / name)
            return ""
    return _command(arguments, where)


@cache
def _shared_folder() -> Path:
    """Return a folder with the outputs of the commands `SHARED`."""
    holder = tempfile.TemporaryDirectory(prefix="nephi-pages-")
    atexit.register(holder.cleanup)
    with contextlib.chdir(holder.name):
        for command in SHARED.values():
            _command(command, "shared by all pages")
    return Path(holder.name)


def _command(arguments: list[str], where: str) -> str:
    """Run `nephi` in this process: sixty processes would spend two minutes on the import of torch."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            main(arguments)
        except SystemExit as exit:
            if exit.code:
                call = shlex.join(["nephi", *arguments])
                raise BlockError(f"{where}: exit code {exit.code}\n{call}\n{errors.getvalue()}") from None
    return out.getvalue()


def _shortened(step: Step, short: str, where: str) -> Step:
    """Return the step with the assignment `short` instead of the one to the same name."""
    if not short:
        return step
    name, _, _ = short.partition(" = ")
    text, count = re.subn(rf"^{name} = [^#\n]*", short, step.text, flags=re.MULTILINE)
    if count != 1:
        raise BlockError(f"{where}: expected one assignment to {name}, which a comment shortens, got {count}")
    return replace(step, text=text)


def _python(step: Step, page: Path, names: dict[str, Any], where: str) -> str:
    printed = io.StringIO()
    code = compile("\n" * (step.line - 1) + step.text, str(page), "exec")  # tracebacks name the line of the page
    try:
        with contextlib.redirect_stdout(printed):
            exec(code, names)
    except Exception as error:
        raise BlockError(f"{where}: {type(error).__name__}: {error}") from error
    return printed.getvalue()


def _compare(expected: str, printed: str, where: str) -> None:
    """Compare the words and numbers of both texts in order."""
    words = [NUMBER.sub("#", text).split() for text in (expected, printed)]
    numbers = [[Decimal(number) for number in NUMBER.findall(text)] for text in (expected, printed)]
    if words[0] != words[1] or any(abs(a - b) > _tolerance(a) for a, b in zip(*numbers, strict=True)):
        raise BlockError(f"{where}: the page shows\n{expected}\nand the block prints\n{printed}")


def _tolerance(shown: Decimal) -> Decimal:
    last = shown.as_tuple().exponent
    assert isinstance(last, int)  # it is a letter for NaN and infinity only
    return Decimal(0) if last >= 0 else max(Decimal(1).scaleb(last), abs(shown) / 50)
