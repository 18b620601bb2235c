"""A structure-aware fuzzer of nephi's readers.

`seeds` writes a small valid file of every kind; `mutations` changes one as its format allows (numbers become
extreme, lines and words are missing or a thousandfold, brackets nest, bits flip, contents of gzip change under a
fitting checksum ...). The changes follow from the number of the case and a base, nothing else: case 1234 is the same
file in every run and on every machine with the same libraries.

`server` is a process that has everything imported, and forks a reader. The reader answers file after file, until one
ends it: then the server forks the next one, in milliseconds. So a crash is a finding, not the end, and costs nothing
when there is none. The reader has a limit on its address space; the harness on time.

A finding is: a reader that died or hung; a traceback, that is an exception that is no `NephiError`; an error text of
several lines; anything printed to stdout or stderr; more than `SECONDS` of processor time or `MEBIBYTES` of
memory for files of a few kB; other contents than those of the seed under its checksum; and a
seed that is not read. Its files are kept in a folder named by the case, and `python -m tests.fuzz 1 --first NUMBER`
repeats it.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.fuzz.mutations import mutated
from tests.fuzz.seeds import Seed, make_seeds

ROOT = Path(__file__).parents[2]
SECONDS = 5.0  # of processor time for one file
PATIENCE = 40.0  # seconds of waiting for one file, on a busy machine
MEBIBYTES = 300.0
SEALED = 0.4  # of the cases of a file with a checksum leave it as it is


@dataclass(frozen=True)
class Finding:
    """What went wrong with case `number`, a mutation of the seed called `seed`."""

    number: int
    seed: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"case {self.number} ({self.seed}): {self.kind}\n{self.text.rstrip()}\n"


class ReaderServer:
    """The process of `tests.fuzz.server`, which reads one file at a time. A context manager."""

    def __init__(self, log: Path, module: str = "tests.fuzz.server", patience: float = PATIENCE) -> None:
        self._module, self._patience = module, patience
        self._log, self._seen, self._pid, self._rest = log, 0, 0, b""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", self._module]
        with open(self._log, "wb") as log:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=log, bufsize=0)
        self._pid = self._receive(10 * PATIENCE)["pid"]
        self._printed()  # what imports print is no finding
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def read(self, reader: str, path: str) -> dict[str, Any]:
        """Return how reading a file ended; see `tests.fuzz.server`. Also `hung`, and the text in `printed`."""
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps({"reader": reader, "path": path}) + "\n").encode())
        answer = self._receive(self._patience)
        if answer["outcome"] == "hung":
            os.kill(self._pid, signal.SIGKILL)
            self._receive(PATIENCE)  # that it died
        if answer["outcome"] in ("hung", "died"):
            self._pid = self._receive(PATIENCE)["pid"]
        return {"printed": self._printed(), **answer}

    def _receive(self, patience: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        while b"\n" not in self._rest:
            if not select.select([self._process.stdout], [], [], patience)[0]:
                return {"outcome": "hung", "text": f"no answer within {patience:g} seconds"}
            part = os.read(self._process.stdout.fileno(), 2**16)
            if not part:
                raise RuntimeError(f"the server of the readers ended: {self._log.read_text(errors='replace')[-2000:]}")
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def _printed(self) -> str:
        with open(self._log, "rb") as log:
            log.seek(self._seen)
            text = log.read().decode("utf-8", "replace")
        self._seen = self._log.stat().st_size
        return text


class Fuzzer:
    """Reads mutated files below `folder`, and keeps those with findings below `kept`."""

    def __init__(self, folder: Path, kept: Path, base: int = 0) -> None:
        self._folder, self._kept, self._base = folder, kept, base
        (folder / "seeds").mkdir(parents=True)
        self.seeds = make_seeds(folder / "seeds")

    def run(self, count: int, first: int = 0) -> Iterator[Finding]:
        """Yield the findings of cases `first` to `first + count`, after those of the seeds themselves."""
        with ReaderServer(self._folder / "printed.txt") as server:
            digests = {}
            for seed in self.seeds:
                answer = self._answer(server, seed, seed.files[seed.target])
                digests[seed.name] = answer.get("digest", "")
                if answer["outcome"] != "read" or answer["printed"]:
                    yield Finding(-1, seed.name, f"seed {answer['outcome']}", answer["printed"] + answer["text"])
            for number in range(first, first + count):
                seed, data, is_sealed = self.case(number)
                answer = self._answer(server, seed, data)
                kind = kind_of(answer, digests[seed.name] if is_sealed else None)
                if kind:
                    finding = Finding(number, seed.name, kind, answer["printed"] + answer["text"])
                    self._keep(finding, seed, data)
                    yield finding

    def case(self, number: int) -> tuple[Seed, bytes, bool]:
        """Return the seed of a case, its mutated contents, and whether only what a checksum covers is changed."""
        chance = random.Random(f"{self._base}:{number}")
        seed = self.seeds[number % len(self.seeds)]
        is_sealed = seed.sealed is not None and chance.random() < SEALED
        return seed, mutated(seed.files[seed.target], chance, seed.sealed if is_sealed else None), is_sealed

    def _answer(self, server: ReaderServer, seed: Seed, data: bytes) -> dict[str, Any]:
        folder = self._folder / "case"
        shutil.rmtree(folder, ignore_errors=True)
        _write(folder, seed, data)
        return server.read(seed.reader, str(folder / seed.entry))

    def _keep(self, finding: Finding, seed: Seed, data: bytes) -> None:
        folder = self._kept / str(finding.number)
        shutil.rmtree(folder, ignore_errors=True)
        _write(folder, seed, data)
        (folder / "finding.txt").write_text(str(finding), encoding="utf-8", errors="replace")


def _write(folder: Path, seed: Seed, data: bytes) -> None:
    folder.mkdir(parents=True)
    for name, contents in seed.files.items():
        (folder / name).write_bytes(data if name == seed.target else contents)


def kind_of(answer: dict[str, Any], digest: str | None) -> str:
    """Return what kind of finding an answer is, nothing for none."""
    if answer["outcome"] not in ("read", "refused"):
        return answer["outcome"]
    if answer["printed"]:
        return "printed"
    if answer["seconds"] > SECONDS:
        return f"{answer['seconds']:.1f} s of processor time"
    if answer["mebibytes"] > MEBIBYTES:
        return f"{answer['mebibytes']:.0f} MiB of memory"
    if digest is not None and answer["outcome"] == "read" and answer["digest"] != digest:
        return "accepted, though its checksum does not fit"
    return ""
