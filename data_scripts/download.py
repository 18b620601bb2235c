"""Downloading what may be downloaded: checksum verified, a broken download taken up where it broke."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click

import nephi

from .options import FILE, speaker
from .sources import SOURCES, Source


@click.command(short_help="Fetch a data set, or say how a person gets it.")
@click.argument("name", type=click.Choice(sorted(SOURCES)))
@click.option(
    "-o", "--output", type=FILE, default="raw", show_default=True, metavar="FOLDER", help="Where to put the archive."
)
@click.option("--accept-terms", is_flag=True, help="Say that you have read the terms on the data set's page.")
@click.option("--checksum", help="What the file must have, sha256:... or md5:...; stands in for the published one.")
@click.option("--url", help="Another address of the same file, should it have moved.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def download(name: str, output: Path, accept_terms: bool, checksum: str | None, url: str | None, quiet: bool) -> None:
    """Fetch the archive of data set NAME into FOLDER; for data that a person must ask for, say how.

    \b
    python -m data_scripts download nlst -o raw --accept-terms

    A download that broke off goes on where it was when the command is given again. Where no checksum is published, the
    file's SHA-256 is written beside it, and later downloads have to agree.
    """
    source = SOURCES[name]
    if url is None and source.url is None:
        raise nephi.DataError(f"{name}: cannot be downloaded without you. {manual(name, source, output)}")
    if not accept_terms:
        raise nephi.UsageError(f"{name}: read the terms on {source.page}, then add --accept-terms")
    path = fetch(str(url or source.url), output, checksum or source.checksum, quiet)
    speaker(quiet)(f"{path}: complete. {manual(name, source, output, fetched=True)}")


def manual(name: str, source: Source, folder: Path, fetched: bool = False) -> str:
    """Return what a person does next, in one line."""
    steps = source.steps.format(name=name, folder=folder)
    if fetched:
        return "Next: unpack it there" + steps[steps.index(", and run") :]
    return f"Page: {source.page} To do: {steps}"


def fetch(url: str, folder: Path, checksum: str | None, quiet: bool = True, patience: float = 2.0) -> Path:
    """Download a file into a folder, unless it is there already; return its path.

    `checksum` is `sha256:...` or `md5:...`. Without one the SHA-256 of the first download, which is kept in a file
    beside it, is what later ones are held against. `patience` is the first pause in seconds after a broken connection.

    Raises `DataError` when the server does not answer, or the file has another checksum, which deletes it;
    `UsageError` when pooch is not installed or the checksum is no checksum.
    """
    try:
        import pooch
    except ImportError:
        raise nephi.UsageError("downloads need pooch: pip install -e .[data]") from None
    from .resume import ResumingDownloader

    fname = Path(unquote(urlsplit(url).path)).name  # in this order: a %2F is a separator when it is unquoted
    if fname in ("", "..") or "\0" in fname:
        raise nephi.UsageError(f"{url}: expected the address of a file")
    _check_form(checksum)
    path, note = folder / fname, folder / f"{fname}.sha256"
    known = checksum or (f"sha256:{note.read_text().split()[0]}" if note.is_file() else None)
    folder.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel("WARNING")  # its lines say in other words what this module says
    if path.is_file() and known is None:  # whole if it is ours: parts have other names, and only the note is missing
        speaker(quiet)(f"{path}: is there already, taken as whole without a checksum to tell; delete it if it is not")
        _note(path, note)
        return path
    if path.is_file() and not pooch.hashes.hash_matches(path, known):
        raise nephi.DataError(f"{path}: is there already, but its checksum is not {known}; delete it, then try again")
    try:
        pooch.retrieve(
            url,
            known,
            fname=fname,
            path=folder,
            downloader=ResumingDownloader(folder / f"{fname}.part", quiet, patience),
        )
    except ValueError:
        raise nephi.DataError(
            f"{url}: what was downloaded does not have the checksum {known}, and was deleted; try again, or see on the "
            "data set's page if there is a new release (--checksum gives another)"
        ) from None
    if known is None:
        _note(path, note)
    return path


def _note(path: Path, note: Path) -> None:
    """Keep the SHA-256 of a file, for later downloads to agree with."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    nephi.io.write_text(note, f"{digest}  {path.name}\n")


def _check_form(checksum: str | None) -> None:
    if checksum is None:
        return
    kind, _, digest = checksum.partition(":")
    lengths = {"md5": 32, "sha256": 64}
    if len(digest) != lengths.get(kind) or set(digest.lower()) - set("0123456789abcdef"):
        raise nephi.UsageError(f"--checksum: expected sha256: or md5: and its hexadecimal digits, found {checksum!r}")
