"""`nephi view`."""

import http.client
import re
import signal
import stat
import subprocess
import sys
import webbrowser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import nephi
from nephi.report.viewer import viewer as viewer_module
from nephi.report.viewer.niivue import has_niivue

from .conftest import Call

NEPHI = [sys.executable, "-m", "nephi.cli"]
needs_niivue = pytest.mark.skipif(not has_niivue(), reason="NiiVue was not downloaded when nephi was installed")


@needs_niivue
@pytest.mark.skipif(sys.platform == "win32", reason="signals of another kind")
def test_serves_until_ctrl_c(flat: Path, flat_result: Path) -> None:
    command = [*NEPHI, "view", str(flat_result), "--no-browser", "--landmarks", str(flat / "landmarks.csv")]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Background jobs of a shell ignore Ctrl-C, and so would processes of tests that run in one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith(f"{flat_result}: shown at http://127.0.0.1:")
        place, _, path = first.split("http://")[1].strip().partition("/")
        connection = http.client.HTTPConnection(place, timeout=30)
        connection.request("GET", f"/{path}study.json")
        assert connection.getresponse().status == 200  # an open connection does not keep the command running
        assert process.stdout.readline() == "Press Ctrl-C to stop.\n"
        process.send_signal(signal.SIGINT)
        printed, complaints = process.communicate(timeout=30)
        connection.close()
    finally:
        process.kill()
    assert (process.returncode, complaints) == (0, "")
    assert printed.splitlines() == ["", "Stopped."]


@needs_niivue
def test_browser_needs_a_display(succeed: Call, flat_result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: nephi.Viewer) -> None:
        raise KeyboardInterrupt

    opened: list[Path] = []

    def browse(address: str) -> None:
        """Read the file like a browser, and its permissions."""
        path = Path(unquote(urlsplit(address).path))
        assert urlsplit(address).scheme == "file"
        if sys.platform != "win32":
            assert [stat.S_IMODE(place.stat().st_mode) for place in (path, path.parent)] == [0o600, 0o700]
        pages.append(path.read_text(encoding="utf-8"))
        opened.append(path)

    pages: list[str] = []
    monkeypatch.setattr(nephi.Viewer, "serve", interrupted)
    monkeypatch.setattr(webbrowser, "open", browse)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", ":0")
    printed = succeed("view", flat_result).out
    (url,) = re.findall(r"http://\S+", printed)
    assert f'content="0; url={url}"' in pages[0]  # its secret is in no argument of a process
    assert not opened[0].parent.exists()
    succeed("view", flat_result, "--no-browser")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    succeed("view", flat_result)
    assert len(opened) == 1


@needs_niivue
def test_errors_are_one_line(call: Call, flat: Path, flat_result: Path, tmp_path: Path) -> None:
    for arguments, code, message in (
        ([tmp_path / "none"], 3, "no such folder"),
        ([flat], 3, "transform.nephi: no such file"),
        ([flat_result, "-f", tmp_path / "no.nii"], 3, "no.nii: no such file"),
        ([flat_result, "-m", flat / "fixed.nii.gz"], 3, "not the moving image of this registration"),
        ([flat_result, "--landmarks", tmp_path / "no.csv"], 3, "no.csv"),
        ([flat_result, "--port", "70000"], 2, "70000"),
    ):
        outcome = call("view", *arguments, "--no-browser")
        assert outcome.code == code and message in outcome.err
        if code == 3:
            assert outcome.err.count("\n") == 1 and outcome.err.startswith("nephi: error: ")


def test_missing_niivue_is_explained(call: Call, flat_result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer_module, "has_niivue", lambda: False)
    outcome = call("view", flat_result, "--no-browser")
    assert outcome.code == 3
    assert outcome.err.count("\n") == 1 and "install npm" in outcome.err
