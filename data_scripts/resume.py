"""A downloader for pooch that takes up a broken download: pooch itself starts anew.

What has arrived lies in `NAME.part`, the server's mark of that version of the file (ETag) in `NAME.part.etag`. The
rest is asked for with `Range` and `If-Range`: a server that has another version by now, or knows no ranges, sends
everything.
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
TRIES = 5
TIMEOUT = 60.0  # seconds without a byte


class ResumingDownloader:
    """Called by `pooch.retrieve`, which verifies the checksum afterwards and puts the file in its place."""

    def __init__(self, part: Path, quiet: bool = True, patience: float = 2.0) -> None:
        self._part = part
        self._mark = part.with_name(part.name + ".etag")
        self._quiet = quiet
        self._patience = patience

    def __call__(self, url: str, output_file: str, pooch: Any = None, check_only: bool = False) -> None:
        """Download `url` to `output_file`. Raises `DataError` when it cannot be had after several tries."""
        if urlsplit(url).scheme not in ("http", "https"):
            raise nephi.UsageError(f"{url}: expected an address that begins with https:// or http://")
        problem = ""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(self._patience * 2 ** (attempt - 1))
            try:
                if self._complete(url):
                    os.replace(self._part, output_file)
                    self._mark.unlink(missing_ok=True)
                    return
                problem = "the connection broke off"
            except HTTPError as error:
                problem = f"the server answered {error.code} {error.reason}"
                if error.code == 416:  # nothing after what is here: another version, shorter than ours
                    self._part.unlink(missing_ok=True)
                elif error.code < 500 and error.code not in (408, 429):
                    raise nephi.DataError(f"{url}: {problem}; has the file moved? (--url)") from None
            except (OSError, HTTPException) as error:
                problem = str(getattr(error, "reason", "") or error) or type(error).__name__
        kept = self._part.stat().st_size if self._part.is_file() else 0
        raise nephi.DataError(
            f"{url}: gave up after {TRIES} tries ({problem}); {kept} bytes are kept, and the same command goes on there"
        )

    def _complete(self, url: str) -> bool:
        """Fetch what is missing; tell whether everything is there."""
        start = self._part.stat().st_size if self._part.is_file() else 0
        mark = self._mark.read_text() if self._mark.is_file() else ""
        headers = {"User-Agent": "nephi-data-scripts", "Accept-Encoding": "identity"}
        if start and mark:
            headers |= {"Range": f"bytes={start}-", "If-Range": mark}
        with urlopen(Request(url, headers=headers), timeout=TIMEOUT) as answer:
            resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
            if answer.status == 206 and not resumed:
                self._part.unlink(missing_ok=True)
                return False
            start = start if resumed else 0
            # A weak mark (W/...) does not vouch for the bytes; the date of the last change serves as well.
            mark = answer.headers.get("ETag", "")
            mark = mark if mark and not mark.startswith("W/") else answer.headers.get("Last-Modified", "")
            self._mark.write_text(mark)
            length = answer.headers.get("Content-Length")
            total = start + int(length) if length is not None else None
            received = self._append(answer, start, total)
        return total is None or received == total

    def _append(self, answer: HTTPResponse, start: int, total: int | None) -> int:
        """Write the answer behind the first `start` bytes; return how many there are then."""
        with open(self._part, "ab" if start else "wb") as file, self._bar(start, total) as bar:
            while block := answer.read(BLOCK):
                file.write(block)
                bar.update(len(block))
            return file.tell()

    def _bar(self, start: int, total: int | None) -> Any:
        from tqdm import tqdm

        name = self._part.name.removesuffix(".part")
        # disable=None: silent where standard error is no terminal.
        return tqdm(desc=name, initial=start, total=total, unit="B", unit_scale=True, disable=self._quiet or None)
