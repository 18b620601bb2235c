"""Downloads from a server on this machine that breaks off, forgets, or holds something else."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data_scripts.download import fetch
from data_scripts.sources import SOURCES
from nephi import DataError, UsageError

from .conftest import Fails, Run

pytest.importorskip("pooch", reason="downloads need pooch: pip install -e .[data]")

BYTES = bytes(range(256)) * 4000
SHA256 = "sha256:" + hashlib.sha256(BYTES).hexdigest()


@dataclass
class Server:
    """What it serves, how, and what it was asked."""

    url: str = ""
    body: bytes = BYTES
    mark: str = '"v1"'
    ranges: bool = True
    breaks: list[int] = field(default_factory=list)  # bytes after which each of the next answers breaks off
    status: int = 200
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            if state.status != 200:
                self.send_error(state.status)
                return
            start = 0
            if wanted and state.ranges and self.headers.get("If-Range") == state.mark:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            rest = state.body[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(state.body) - 1}/{len(state.body)}")
            if state.mark:
                self.send_header("ETag", state.mark)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: state.breaks.pop(0)] if state.breaks else rest)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_address[1]}/data%20set.zip?x=1"
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def get(server: Server, tmp_path: Path) -> Callable[..., Path]:
    def get(checksum: str | None = SHA256) -> Path:
        return fetch(server.url, tmp_path / "raw", checksum, patience=0.0)

    return get


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_download(get: Callable[..., Path], tmp_path: Path) -> None:
    assert get().read_bytes() == BYTES
    assert names(tmp_path / "raw") == ["data set.zip"]


def test_a_connection_that_breaks_is_taken_up(get: Callable[..., Path], server: Server) -> None:
    server.breaks = [300_000, 500_000]
    assert get().read_bytes() == BYTES
    assert server.asked == [None, "bytes=300000-", "bytes=800000-"]


def test_the_next_run_goes_on_where_this_one_gave_up(get: Callable[..., Path], server: Server, tmp_path: Path) -> None:
    server.breaks = [200_000, 0, 0, 0, 0]
    with pytest.raises(DataError, match=r"gave up after 5 tries \(the connection broke off\); 200000 bytes are kept"):
        get()
    assert names(tmp_path / "raw") == ["data set.zip.part", "data set.zip.part.etag"]
    server.asked.clear()
    assert get().read_bytes() == BYTES
    assert server.asked == ["bytes=200000-"]
    assert names(tmp_path / "raw") == ["data set.zip"]


def test_another_version_in_between_starts_anew(get: Callable[..., Path], server: Server) -> None:
    server.breaks = [200_000, 0, 0, 0, 0]
    with pytest.raises(DataError):
        get()
    server.body, server.mark = BYTES[::-1], '"v2"'
    assert get("sha256:" + hashlib.sha256(BYTES[::-1]).hexdigest()).read_bytes() == BYTES[::-1]


@pytest.mark.parametrize("mark", ["", 'W/"weak"'])
def test_without_a_mark_nothing_is_patched_together(get: Callable[..., Path], server: Server, mark: str) -> None:
    server.mark, server.breaks = mark, [300_000]
    assert get().read_bytes() == BYTES
    assert server.asked == [None, None]


def test_a_server_without_ranges(get: Callable[..., Path], server: Server) -> None:
    server.ranges, server.breaks = False, [300_000]
    assert get().read_bytes() == BYTES


def test_another_checksum(get: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not have the checksum sha256:000.*, and was deleted"):
        get("sha256:" + "0" * 64)
    assert names(tmp_path / "raw") == []


def test_a_file_that_is_there_is_not_fetched_again(get: Callable[..., Path], server: Server) -> None:
    path = get()
    assert get() == path and len(server.asked) == 1
    path.write_bytes(b"something else")
    with pytest.raises(DataError, match=r"is there already, but its checksum is not sha256:.*; delete it"):
        get()


def test_without_a_published_checksum_the_first_one_is_kept(get: Callable[..., Path], server: Server) -> None:
    path = get(None)
    assert path.with_name("data set.zip.sha256").read_text() == f"{SHA256[7:]}  data set.zip\n"
    get(None)
    assert len(server.asked) == 1
    path.unlink()
    server.body = BYTES[::-1]
    with pytest.raises(DataError, match=r"does not have the checksum"):
        get(None)


def test_interrupted_before_the_first_checksum_is_kept(
    run: Run, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    arguments = ("download", "nlst", "-o", tmp_path / "raw", "--accept-terms", "--url", server.url)
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", interrupt)
        outcome = run(*arguments)
        assert outcome.code == 130 and "the same command goes on" in outcome.err
    assert names(tmp_path / "raw") == ["data set.zip"]
    outcome = run(*arguments)
    assert outcome.code == 0 and "taken as whole without a checksum to tell" in outcome.out and len(server.asked) == 1
    assert (tmp_path / "raw/data set.zip.sha256").read_text() == f"{SHA256[7:]}  data set.zip\n"
    assert "taken as whole" not in run(*arguments).out


@pytest.mark.parametrize("path", ["a/..%2F..%2Fevil.zip", "%2E%2E%2Fevil.zip", "b%2Fevil.zip"])
def test_an_address_does_not_lead_out_of_the_folder(server: Server, tmp_path: Path, path: str) -> None:
    host = server.url.rpartition("/")[0]
    assert fetch(f"{host}/{path}", tmp_path / "a/raw", SHA256, patience=0.0) == tmp_path / "a/raw/evil.zip"
    assert names(tmp_path) == ["a"] and names(tmp_path / "a") == ["raw"]


@pytest.mark.parametrize("path", ["", "a/..", "a/%2E%2E", "a%00b.zip"])
def test_an_address_without_the_name_of_a_file(server: Server, tmp_path: Path, path: str) -> None:
    with pytest.raises(UsageError, match="expected the address of a file"):
        fetch(f"{server.url.rpartition('/')[0]}/{path}", tmp_path / "raw", SHA256)
    assert server.asked == [] and not (tmp_path / "raw").exists()


@pytest.mark.parametrize("status", [403, 404])
def test_no_such_file(get: Callable[..., Path], server: Server, status: int) -> None:
    server.status = status
    with pytest.raises(DataError, match=rf"the server answered {status} .*; has the file moved"):
        get()
    assert len(server.asked) == 1


def test_a_server_that_is_out_of_order_is_asked_again(get: Callable[..., Path], server: Server) -> None:
    server.status = 503
    with pytest.raises(DataError, match=r"gave up after 5 tries \(the server answered 503"):
        get()
    assert len(server.asked) == 5


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gave up after 5 tries .*refused"):
        fetch("http://127.0.0.1:9/x.zip", tmp_path, SHA256, patience=0.0)


@pytest.mark.parametrize("url", ["file:///etc/x.zip", "ftp://127.0.0.1/x.zip"])
def test_other_addresses(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="expected an address that begins with https://"):
        fetch(url, tmp_path, SHA256)


def test_command(run: Run, server: Server, tmp_path: Path) -> None:
    arguments = (
        "download",
        "nlst",
        "-o",
        tmp_path / "raw",
        "--accept-terms",
        "--url",
        server.url,
        "--checksum",
        SHA256,
    )
    outcome = run(*arguments)
    assert outcome.code == 0
    assert outcome.out.count("\n") == 1 and "complete. Next: unpack it there, and run: python -m data" in outcome.out


def test_command_with_wrong_options(fails: Fails, server: Server, tmp_path: Path) -> None:
    arguments = ("download", "nlst", "-o", tmp_path, "--url", server.url)
    fails(*arguments, code=2, says="read the terms on https://learn2reg.*, then add --accept-terms")
    fails(*arguments, "--accept-terms", "--checksum", "abc", code=2, says="--checksum: expected sha256: or md5:")
    assert server.asked == []


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if source.url is None])
def test_data_that_a_person_must_ask_for(fails: Fails, name: str, tmp_path: Path) -> None:
    line = fails(
        "download", name, "-o", tmp_path / "raw", says="cannot be downloaded without you. Page: https://.* To do:"
    )
    assert str(tmp_path / "raw") in line and "-o DATASET" in line and "{" not in line


def test_without_pooch(fails: Fails, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    options = ("--accept-terms", "--url", server.url)
    fails("download", "nlst", "-o", tmp_path, *options, code=2, says=r"downloads need pooch: pip install -e .\[data\]")
