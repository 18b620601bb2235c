"""The code blocks of a Markdown page, run in order in one folder.

A collector of our own, since those at hand each leave out what these pages need: pytest-examples, pytest-markdown-docs
and mktestdocs run Python or one language at a time (here shell and Python take turns), sybil wants the pages to be
collected as tests of their own, outside of tests/. What a page can say to it, in HTML comments that readers do not see:

    <!-- prepare: NAME -->  run `preparations.NAME(folder)` here, before the blocks that follow
    <!-- needs: NAME -->    run the next block only where NAME is a module or a program; the test says if it was not

A block of the language `output` holds what the block before it prints. Numbers with decimals may differ by one unit of
the last one that the page shows, or by 2 %: fits differ a little from machine to machine. Whole numbers may not.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from nephi.cli.main import main

from . import preparations

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*).*\n(?P<code>(?:.*\n)*?)(?P=indent)```\s*$", re.MULTILINE)
COMMENT = re.compile(r"<!-- (?P<key>prepare|needs): (?P<value>[\w.]+) -->")
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class Step:
    """A block or a comment of a page, with the line it begins at."""

    kind: str
    text: str
    line: int


class BlockError(AssertionError):
    """A block did not run, or printed something else."""


def steps_of(page: Path) -> list[Step]:
    """Return the blocks that are run and the comments that steer them, in order."""
    text = page.read_text(encoding="utf-8")
    found = [(m.start(), m.start("code"), m["language"], _dedented(m)) for m in FENCE.finditer(text)]
    found += [(m.start(), m.start(), m["key"], m["value"]) for m in COMMENT.finditer(text)]
    return [Step(kind, code, text.count("\n", 0, at) + 1) for _, at, kind, code in sorted(found)]


def run(page: Path, folder: Path) -> list[str]:
    """Run the page's steps in `folder`; return what was left out, and why. Raises `BlockError` with page and line."""
    names: dict[str, Any] = {"__name__": "__main__"}
    missing, printed, left_out = "", None, []
    with contextlib.chdir(folder):
        for step in steps_of(page):
            where = f"{page.name}, line {step.line}"
            match step.kind:
                case "prepare":
                    getattr(preparations, step.text)(folder)
                case "needs":
                    missing = "" if _at_hand(step.text, folder) else step.text
                case "bash" | "python" if missing:
                    left_out.append(f"{where} needs {missing}")
                    missing, printed = "", None
                case "bash":
                    printed = _shell(step.text, folder, where)
                case "python":
                    printed = _python(step, page, names, where)
                case "output" if printed is not None:
                    _compare(step.text, printed, where)
    return left_out


def _dedented(found: re.Match[str]) -> str:
    return re.sub(f"^{found['indent']}", "", found["code"], flags=re.MULTILINE)


def _at_hand(name: str, folder: Path) -> bool:
    return importlib.util.find_spec(name) is not None or shutil.which(name, path=_path(folder)) is not None


def _path(folder: Path) -> str:
    """Return PATH with `nephi` of this interpreter, and the programs that a preparation made."""
    return os.pathsep.join([sysconfig.get_path("scripts"), str(folder / preparations.PROGRAMS), os.environ["PATH"]])


def _shell(code: str, folder: Path, where: str) -> str:
    joined = code.replace("\\\n", "")
    if re.fullmatch(r"(nephi [^|&;<>$`*\\\n]*\n)+", joined):
        return "".join(_command(shlex.split(line)[1:], where) for line in joined.splitlines())
    environment = {**os.environ, "PATH": _path(folder)}
    command = ["bash", "-euo", "pipefail", "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise BlockError(f"{where}: exit code {done.returncode}\n{code}\n{done.stdout}{done.stderr}")
    return done.stdout


def _command(arguments: list[str], where: str) -> str:
    """Run `nephi` in this process: a process for each of some sixty calls would import torch for two minutes."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            main(arguments)
        except SystemExit as ended:
            if ended.code:
                call = shlex.join(["nephi", *arguments])
                raise BlockError(f"{where}: exit code {ended.code}\n{call}\n{errors.getvalue()}") from None
    return out.getvalue()


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
    """Compare words and numbers in order."""
    words = [NUMBER.sub("#", text).split() for text in (expected, printed)]
    numbers = [[Decimal(number) for number in NUMBER.findall(text)] for text in (expected, printed)]
    if words[0] != words[1] or any(abs(a - b) > _tolerance(a) for a, b in zip(*numbers, strict=True)):
        raise BlockError(f"{where}: the page shows\n{expected}\nand the block prints\n{printed}")


def _tolerance(shown: Decimal) -> Decimal:
    last = shown.as_tuple().exponent
    assert isinstance(last, int)  # it is a letter for NaN and infinity only
    return Decimal(0) if last >= 0 else max(Decimal(1).scaleb(last), abs(shown) / 50)
