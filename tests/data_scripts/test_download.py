"""Test downloads from a local server that interrupts connections, ignores ranges or serves other content."""

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
    """Content and behaviour of the server, and the ranges requested from it."""

    url: str = ""
    body: bytes = BYTES
    etag: str = '"v1"'
    ranges: bool = True
    interruptions: list[int] = field(default_factory=list)  # bytes after which each of the next responses ends
    status: int = 200
    requested: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            range_header = self.headers.get("Range")
            state.requested.append(range_header)
            if state.status != 200:
                self.send_error(state.status)
                return
            start = 0
            if range_header and state.ranges and self.headers.get("If-Range") == state.etag:
                start = int(range_header.removeprefix("bytes=").removesuffix("-"))
            rest = state.body[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(state.body) - 1}/{len(state.body)}")
            if state.etag:
                self.send_header("ETag", state.etag)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: state.interruptions.pop(0)] if state.interruptions else rest)

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
        return fetch(server.url, tmp_path / "raw", checksum, pause=0.0)

    return get


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_uninterrupted_download_is_complete(get: Callable[..., Path], tmp_path: Path) -> None:
    assert get().read_bytes() == BYTES
    assert names(tmp_path / "raw") == ["data set.zip"]


def test_an_interrupted_connection_is_resumed(get: Callable[..., Path], server: Server) -> None:
    server.interruptions = [300_000, 500_000]
    assert get().read_bytes() == BYTES
    assert server.requested == [None, "bytes=300000-", "bytes=800000-"]


def test_the_next_run_resumes_a_failed_download(get: Callable[..., Path], server: Server, tmp_path: Path) -> None:
    server.interruptions = [200_000, 0, 0, 0, 0]
    with pytest.raises(DataError, match=r"failed after 5 attempts \(the connection was .*\); 200000 bytes are kept"):
        get()
    assert names(tmp_path / "raw") == ["data set.zip.part", "data set.zip.part.etag"]
    server.requested.clear()
    assert get().read_bytes() == BYTES
    assert server.requested == ["bytes=200000-"]
    assert names(tmp_path / "raw") == ["data set.zip"]


def test_a_new_version_is_downloaded_from_the_start(get: Callable[..., Path], server: Server) -> None:
    server.interruptions = [200_000, 0, 0, 0, 0]
    with pytest.raises(DataError):
        get()
    server.body, server.etag = BYTES[::-1], '"v2"'
    assert get("sha256:" + hashlib.sha256(BYTES[::-1]).hexdigest()).read_bytes() == BYTES[::-1]


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_strong_etag_the_download_restarts(get: Callable[..., Path], server: Server, etag: str) -> None:
    server.etag, server.interruptions = etag, [300_000]
    assert get().read_bytes() == BYTES
    assert server.requested == [None, None]


def test_a_server_without_ranges_sends_the_whole_file(get: Callable[..., Path], server: Server) -> None:
    server.ranges, server.interruptions = False, [300_000]
    assert get().read_bytes() == BYTES


def test_a_file_with_another_checksum_is_deleted(get: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not have the checksum sha256:000.* and was deleted"):
        get("sha256:" + "0" * 64)
    assert names(tmp_path / "raw") == []


def test_an_existing_file_is_not_downloaded_again(get: Callable[..., Path], server: Server) -> None:
    path = get()
    assert get() == path and len(server.requested) == 1
    path.write_bytes(b"something else")
    with pytest.raises(DataError, match=r"exists, but its checksum is not sha256:.*; delete it"):
        get()


def test_without_a_published_checksum_the_first_one_is_stored(get: Callable[..., Path], server: Server) -> None:
    path = get(None)
    assert path.with_name("data set.zip.sha256").read_text(encoding="utf-8") == f"{SHA256[7:]}  data set.zip\n"
    get(None)
    assert len(server.requested) == 1
    path.unlink()
    server.body = BYTES[::-1]
    with pytest.raises(DataError, match=r"does not have the checksum"):
        get(None)


def test_interruption_before_the_first_checksum_is_stored(
    run: Run, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    arguments = ("download", "nlst", "-o", tmp_path / "raw", "--accept-terms", "--url", server.url)
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", interrupt)
        outcome = run(*arguments)
        assert outcome.code == 130 and "repeat the command to resume" in outcome.err
    assert names(tmp_path / "raw") == ["data set.zip"]
    outcome = run(*arguments)
    assert outcome.code == 0 and "assumed complete" in outcome.out and len(server.requested) == 1
    assert (tmp_path / "raw/data set.zip.sha256").read_text(encoding="utf-8") == f"{SHA256[7:]}  data set.zip\n"
    assert "assumed complete" not in run(*arguments).out


@pytest.mark.parametrize("path", ["a/..%2F..%2Fevil.zip", "%2E%2E%2Fevil.zip", "b%2Fevil.zip"])
def test_addresses_cannot_write_outside_of_the_folder(server: Server, tmp_path: Path, path: str) -> None:
    host = server.url.rpartition("/")[0]
    assert fetch(f"{host}/{path}", tmp_path / "a/raw", SHA256, pause=0.0) == tmp_path / "a/raw/evil.zip"
    assert names(tmp_path) == ["a"] and names(tmp_path / "a") == ["raw"]


@pytest.mark.parametrize("path", ["", "a/..", "a/%2E%2E", "a%00b.zip"])
def test_addresses_without_a_file_name_are_refused(server: Server, tmp_path: Path, path: str) -> None:
    with pytest.raises(UsageError, match="expected the address of a file"):
        fetch(f"{server.url.rpartition('/')[0]}/{path}", tmp_path / "raw", SHA256)
    assert server.requested == [] and not (tmp_path / "raw").exists()


@pytest.mark.parametrize("status", [403, 404])
def test_missing_files_are_not_requested_again(get: Callable[..., Path], server: Server, status: int) -> None:
    server.status = status
    with pytest.raises(DataError, match=rf"the server answered {status} .*; has the file moved"):
        get()
    assert len(server.requested) == 1


def test_requests_are_repeated_after_server_errors(get: Callable[..., Path], server: Server) -> None:
    server.status = 503
    with pytest.raises(DataError, match=r"failed after 5 attempts \(the server answered 503"):
        get()
    assert len(server.requested) == 5


def test_an_unreachable_server_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"failed after 5 attempts .*refused"):
        fetch("http://127.0.0.1:9/x.zip", tmp_path, SHA256, pause=0.0)


@pytest.mark.parametrize("url", ["file:///etc/x.zip", "ftp://127.0.0.1/x.zip"])
def test_other_schemes_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="expected an address that starts with https://"):
        fetch(url, tmp_path, SHA256)


def test_command_prints_the_next_step(run: Run, server: Server, tmp_path: Path) -> None:
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
    assert outcome.out.count("\n") == 1 and "complete. Next: unpack it in that folder, and run: python" in outcome.out


def test_command_refuses_missing_consent_and_malformed_checksums(fails: Fails, server: Server, tmp_path: Path) -> None:
    arguments = ("download", "nlst", "-o", tmp_path, "--url", server.url)
    fails(*arguments, code=2, match="read the terms on https://learn2reg.*, then add --accept-terms")
    fails(*arguments, "--accept-terms", "--checksum", "abc", code=2, match="--checksum: expected sha256: or md5:")
    assert server.requested == []


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if source.url is None])
def test_data_without_a_public_address_print_instructions(fails: Fails, name: str, tmp_path: Path) -> None:
    line = fails("download", name, "-o", tmp_path / "raw", match="has no public address. Page: https://.* Steps:")
    assert str(tmp_path / "raw") in line and "-o DATASET" in line and "{" not in line


def test_missing_pooch_is_reported(
    fails: Fails, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    options = ("--accept-terms", "--url", server.url)
    fails(
        "download",
        "nlst",
        "-o",
        tmp_path,
        *options,
        code=2,
        match=r"pooch is not installed.* pip install -e .\[data\]",
    )
