"""A downloader for pooch that resumes interrupted downloads, which pooch itself restarts.

The received bytes are stored in `NAME.part`, the server's identifier of that version of the file (ETag) in
`NAME.part.etag`. The rest is requested with `Range` and `If-Range`: a server with another version, or without support
for ranges, sends the whole file.
"""

from __future__ import annotations

import os
import time
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import nephi

BLOCK = 1 << 20
ATTEMPTS = 5
TIMEOUT = 60.0  # seconds without a byte


class ResumingDownloader:
    """Callable for `pooch.retrieve`, which then verifies the checksum and moves the file to its destination."""

    def __init__(self, part: Path, quiet: bool = True, pause: float = 2.0) -> None:
        self._part = part
        self._etag = part.with_name(part.name + ".etag")
        self._quiet = quiet
        self._pause = pause

    def __call__(self, url: str, output_file: str, pooch: Any = None, check_only: bool = False) -> None:
        """Download `url` to `output_file`. Raises `DataError` after several failed attempts."""
        if urlsplit(url).scheme not in ("http", "https"):
            raise nephi.UsageError(f"{url}: expected an address that starts with https:// or http://")
        problem = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(self._pause * 2 ** (attempt - 1))
            try:
                if self._download_rest(url):
                    os.replace(self._part, output_file)
                    self._etag.unlink(missing_ok=True)
                    return
                problem = "the connection was interrupted"
            except HTTPError as error:
                problem = f"the server answered {error.code} {error.reason}"
                if error.code == 416:  # range not satisfiable: the server has a shorter version by now
                    self._part.unlink(missing_ok=True)
                elif error.code < 500 and error.code not in (408, 429):
                    raise nephi.DataError(f"{url}: {problem}; has the file moved? (--url)") from None
            except (OSError, HTTPException) as error:
                problem = str(getattr(error, "reason", "") or error) or type(error).__name__
        kept = self._part.stat().st_size if self._part.is_file() else 0
        raise nephi.DataError(
            f"{url}: failed after {ATTEMPTS} attempts ({problem}); {kept} bytes are kept: repeat the command to resume"
        )

    def _download_rest(self, url: str) -> bool:
        """Download the missing bytes; return whether the file is complete."""
        start = self._part.stat().st_size if self._part.is_file() else 0
        etag = self._etag.read_text(encoding="utf-8") if self._etag.is_file() else ""
        headers = {"User-Agent": "nephi-data-scripts", "Accept-Encoding": "identity"}
        if start and etag:
            headers |= {"Range": f"bytes={start}-", "If-Range": etag}
        with urlopen(Request(url, headers=headers), timeout=TIMEOUT) as response:
            resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
            if response.status == 206 and not resumed:
                self._part.unlink(missing_ok=True)
                return False
            start = start if resumed else 0
            # A weak ETag (W/...) does not identify the bytes; If-Range accepts the date of the last change as well.
            etag = response.headers.get("ETag", "")
            etag = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
            self._etag.write_text(etag)
            length = response.headers.get("Content-Length")
            total = start + int(length) if length is not None else None
            received = self._append(response, start, total)
        return total is None or received == total

    def _append(self, response: HTTPResponse, start: int, total: int | None) -> int:
        """Write the response after the first `start` bytes; return the new number of bytes."""
        with open(self._part, "ab" if start else "wb") as file, self._progress_bar(start, total) as bar:
            while block := response.read(BLOCK):
                file.write(block)
                bar.update(len(block))
            return file.tell()

    def _progress_bar(self, start: int, total: int | None) -> Any:
        from tqdm import tqdm

        name = self._part.name.removesuffix(".part")
        # disable=None: no bar where standard error is not a terminal.
        return tqdm(desc=name, initial=start, total=total, unit="B", unit_scale=True, disable=self._quiet or None)
