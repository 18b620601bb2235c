"""Download of data sets with a public address: verified by checksum, resumed after an interruption."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click

import nephi

from .options import FILE, printer
from .sources import SOURCES, Source


@click.command(short_help="Download a data set, or print how to obtain it.")
@click.argument("name", type=click.Choice(sorted(SOURCES)))
@click.option(
    "-o", "--output", type=FILE, default="raw", show_default=True, metavar="FOLDER", help="Folder of the archive."
)
@click.option("--accept-terms", is_flag=True, help="Confirm that you accept the terms on the data set's page.")
@click.option("--checksum", help="Checksum of the file, sha256:... or md5:...; replaces the published one.")
@click.option("--url", help="Another address of the same file, if it has moved.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def download(name: str, output: Path, accept_terms: bool, checksum: str | None, url: str | None, quiet: bool) -> None:
    """Download the archive of data set NAME to FOLDER; for data without a public address, print how to obtain it.

    \b
    python -m data_scripts download nlst -o raw --accept-terms

    Repeat the command to resume an interrupted download. If no checksum is published, the file's SHA-256 is written
    next to it, and later downloads must match.
    """
    source = SOURCES[name]
    if url is None and source.url is None:
        raise nephi.DataError(f"{name}: has no public address. {instructions(name, source, output)}")
    if not accept_terms:
        raise nephi.UsageError(f"{name}: read the terms on {source.page}, then add --accept-terms")
    path = fetch(str(url or source.url), output, checksum or source.checksum, quiet)
    printer(quiet)(f"{path}: complete. {instructions(name, source, output, downloaded=True)}")


def instructions(name: str, source: Source, folder: Path, downloaded: bool = False) -> str:
    """Return the user's next steps in one line."""
    steps = source.steps.format(name=name, folder=folder)
    if downloaded:
        return "Next: unpack it in that folder" + steps[steps.index(", and run") :]
    return f"Page: {source.page} Steps: {steps}"


def fetch(url: str, folder: Path, checksum: str | None, quiet: bool = True, pause: float = 2.0) -> Path:
    """Download a file to a folder unless it exists; return its path.

    `checksum` is `sha256:...` or `md5:...`. Without one, the SHA-256 of the first download is stored in a file next to
    it, and later downloads are verified with that. `pause` is the first pause in seconds before a failed download is
    repeated.

    Raises `DataError` when the server does not respond, or the file has another checksum (it is then deleted);
    `UsageError` when pooch is not installed or the checksum is malformed.
    """
    try:
        import pooch
    except ImportError:
        raise nephi.UsageError("pooch is not installed, which downloads need: pip install -e .[data]") from None
    from .resume import ResumingDownloader

    fname = Path(unquote(urlsplit(url).path)).name  # in this order: %2F becomes a separator
    if fname in ("", "..") or "\0" in fname:
        raise nephi.UsageError(f"{url}: expected the address of a file")
    _validate_checksum(checksum)
    path, note = folder / fname, folder / f"{fname}.sha256"
    expected = checksum or (f"sha256:{note.read_text(encoding='utf-8').split()[0]}" if note.is_file() else None)
    folder.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel("WARNING")  # this module prints the same information
    if path.is_file() and expected is None:  # complete, as incomplete downloads have other names
        printer(quiet)(f"{path}: exists, assumed complete (no checksum is known); delete it to download it again")
        _store_checksum(path, note)
        return path
    if path.is_file() and not pooch.hashes.hash_matches(path, expected):
        raise nephi.DataError(f"{path}: exists, but its checksum is not {expected}; delete it, then repeat the command")
    try:
        pooch.retrieve(
            url,
            expected,
            fname=fname,
            path=folder,
            downloader=ResumingDownloader(folder / f"{fname}.part", quiet, pause),
        )
    except ValueError:
        raise nephi.DataError(
            f"{url}: the downloaded file does not have the checksum {expected} and was deleted; repeat the command, or "
            "check the data set's page for a new release (--checksum sets another checksum)"
        ) from None
    if expected is None:
        _store_checksum(path, note)
    return path


def _store_checksum(path: Path, note: Path) -> None:
    """Write the SHA-256 of a file to `note`, to verify later downloads."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    nephi.io.write_text(note, f"{digest}  {path.name}\n")


def _validate_checksum(checksum: str | None) -> None:
    if checksum is None:
        return
    kind, _, digest = checksum.partition(":")
    lengths = {"md5": 32, "sha256": 64}
    if len(digest) != lengths.get(kind) or set(digest.lower()) - set("0123456789abcdef"):
        raise nephi.UsageError(f"--checksum: expected sha256: or md5: and its hexadecimal digits, found {checksum!r}")
