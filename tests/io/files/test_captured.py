"""Output of libraries is captured; output of Python is not."""

import ctypes
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nephi.io.files import captured
from nephi.io.files.captured import captured_output

LIBC = ctypes.CDLL(None)


def print_as_a_library(text: str, number: int = 2) -> None:
    os.write(number, text.encode())


def test_both_descriptors_are_captured_and_restored(capfd: pytest.CaptureFixture[str]) -> None:
    with captured_output() as lines:
        print_as_a_library("to stderr\n")
        print_as_a_library("  to stdout  \n\n", 1)
        assert lines == []
    assert lines == ["to stderr", "to stdout"]
    assert capfd.readouterr() == ("", "")
    print_as_a_library("after\n")
    assert capfd.readouterr() == ("", "after\n")


def test_what_the_c_library_buffers_is_captured(capfd: pytest.CaptureFixture[str]) -> None:
    LIBC.printf(b"before\n")
    with captured_output() as lines:
        LIBC.printf(b"inside\n")
    assert lines == ["inside"]
    LIBC.fflush(None)
    assert capfd.readouterr().out == "before\n"


def test_captures_nest_and_end_with_an_exception(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), captured_output() as outer:
        with captured_output() as inner:
            print_as_a_library("inner\n")
        print_as_a_library("outer\n")
        raise KeyboardInterrupt
    assert (outer, inner) == (["outer"], ["inner"])
    print_as_a_library("after\n")
    assert capfd.readouterr().err == "after\n"


def test_descriptors_are_restored() -> None:
    before = len(os.listdir("/dev/fd"))
    for _ in range(20):
        with captured_output():
            print_as_a_library("x\n")
    assert len(os.listdir("/dev/fd")) == before


def test_one_capture_at_a_time() -> None:
    entered = threading.Event()

    def other() -> None:
        with captured_output():
            entered.set()

    with captured_output():
        thread = threading.Thread(target=other)
        thread.start()
        assert not entered.wait(0.1)
    thread.join(5)
    assert entered.is_set()


def test_long_output_is_truncated() -> None:
    with captured_output() as lines:
        for _ in range(300):
            print_as_a_library("x" * 999 + "\n")
    assert 0 < len(lines) < 100


# Loaded by its path: the package would import torch in every process.
LOAD = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("captured", {captured.__file__!r})
captured = importlib.util.module_from_spec(spec)
spec.loader.exec_module(captured)
captured_output = captured.captured_output
"""
PYTHON = """
import os, sys, threading
with captured_output() as lines:
    os.write(2, b"library\\n")
    print("from python", file=sys.stderr)
    thread = threading.Thread(target=lambda: print("from a thread", file=sys.stderr))
    thread.start()
    thread.join()
    print("to stdout")
print("captured", lines)
"""


def run(code: str, redirect: str = "") -> subprocess.CompletedProcess[str]:
    command = f'"{sys.executable}" -c "$CODE" {redirect}'
    return subprocess.run(
        ["sh", "-c", command],
        env={**os.environ, "CODE": LOAD + code},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def test_python_prints_during_a_capture() -> None:
    done = run(PYTHON)
    assert done.stderr == "from python\nfrom a thread\n"
    assert done.stdout == "to stdout\ncaptured ['library']\n"


@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors(tmp_path: Path, closed: str) -> None:
    code = f"""
import os
with captured_output() as lines:
    os.write(2, b"library\\n")
open({str(tmp_path / "out")!r}, "w").write(repr(lines))
try:
    os.fstat(2)
except OSError:
    open({str(tmp_path / "still")!r}, "w").write("closed")
"""
    run(code, closed)
    assert (tmp_path / "out").read_text(encoding="utf-8") == "['library']"
    assert (tmp_path / "still").read_text(encoding="utf-8") == "closed"


def test_without_a_free_descriptor_nothing_is_redirected() -> None:
    code = """
import os, resource
from nephi.io.files.captured import captured_output
resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))
for free in range(4):
    opened = []
    try:
        while True:
            opened.append(os.dup(0))
    except OSError:
        pass
    for number in opened[:free]:
        os.close(number)
    try:
        with captured_output():
            pass
    except OSError:
        pass
    for number in opened[free:]:
        os.close(number)
os.write(2, b"still open")
os.write(1, b"this, too")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert (done.stderr, done.stdout) == (b"still open", b"this, too")


def test_streams_are_closed_without_a_warning() -> None:
    code = """
import gc, os, sys, warnings
from nephi.io.files.captured import captured_output
warnings.simplefilter("error")
sys.unraisablehook = lambda found: os.write(2, repr(found.exc_value).encode())
before = os.listdir("/dev/fd")
for _ in range(3):
    with captured_output():
        print("kept", flush=True)
gc.collect()
print(len(before) == len(os.listdir("/dev/fd")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert (done.stderr, done.stdout) == (b"", b"kept\nkept\nkept\nTrue\n")
