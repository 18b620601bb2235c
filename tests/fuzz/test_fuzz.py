"""Five hundred mutated files of every kind are read or refused, see tests/fuzz/harness.py; `make fuzz` reads more."""

import random
import sys
from pathlib import Path

import pytest

from tests.fuzz.harness import Fuzzer, ReaderServer, kind_of
from tests.fuzz.mutations import mutated
from tests.fuzz.server import READERS

COUNT = 500
KEPT = Path(__file__).parents[2] / "build" / "fuzz"
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs fork, /proc and limits of memory")


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Fuzzer:
    return Fuzzer(tmp_path_factory.mktemp("fuzz") / "work", KEPT)


def test_no_reader_dies_hangs_or_lets_damage_pass(fuzzer: Fuzzer) -> None:
    findings = list(fuzzer.run(COUNT))
    assert not findings, f"files are in {KEPT}; python -m tests.fuzz 1 --first NUMBER repeats one\n" + "\n".join(
        map(str, findings)
    )


def test_every_reader_and_kind_of_file_takes_part(fuzzer: Fuzzer) -> None:
    assert {seed.reader for seed in fuzzer.seeds} == set(READERS)
    assert len({seed.name for seed in fuzzer.seeds}) == len(fuzzer.seeds) < COUNT / 5


def test_cases_are_the_same_every_time_and_differ(fuzzer: Fuzzer) -> None:
    cases = [fuzzer.case(number)[1] for number in range(200)]
    assert cases == [fuzzer.case(number)[1] for number in range(200)]
    assert len(set(cases)) > 190


def test_sealed_contents_change_behind_the_header_only() -> None:
    data = bytes(range(200))
    for number in range(100):
        changed = mutated(data, random.Random(number), sealed_from=150)
        assert changed[:150] == data[:150]
        assert changed != data


def test_what_goes_wrong_is_found(tmp_path: Path) -> None:
    """Whatever a reader does, the next file is read again."""
    expected = {
        "crash": "died",
        "exit": "died",
        "hang": "hung",
        "traceback": "traceback",
        "address space": "traceback",
        "several lines": "several lines",
        "print": "printed",
        "memory": "500 MiB of memory",
        "refused": "",
        "nothing": "",
    }
    with ReaderServer(tmp_path / "log", "tests.fuzz.broken", patience=5) as server:
        for fault, kind in expected.items():
            (tmp_path / "file").write_text(fault)
            answer = server.read("broken", str(tmp_path / "file"))
            assert kind_of(answer, None)[:5] == kind[:5], answer
        assert kind_of(answer, "another digest").startswith("accepted")
