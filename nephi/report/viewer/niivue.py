"""NiiVue, the viewer's third-party script: its version, and its download when nephi is installed.

setup.py runs this file before nephi and its dependencies are installed, so it imports the standard library only.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@niivue/niivue@0.69.0"
PACKAGE_HASH = "sha512-YMjQvJgD1W2b7DuoxkwlC4VxbrgIePRJ5qyQzXKxi2v2MBVg285P/CIQyg46oDDGDIcaNlbd+MhtO/edMbXJkA=="
MEMBER = "package/dist/niivue.umd.js"
MEMBER_HASH = "sha512-N9yWiCB7y4Gzmv4YYoSIlwzs9fazYBlBUIpRyDmutj7jjMAjQF/ZvS5jSgGnFhbrbVDmpzQQc59tkUqXjREmfw=="
SCRIPT = Path(__file__).parent / "static" / "niivue.umd.js"
TIMEOUT = 60.0  # seconds for npm, so that an installation does not hang with the network


def has_niivue(path: Path = SCRIPT) -> bool:
    """Return whether the file exists and is the version that the viewer needs."""
    try:
        return _hash(path.read_bytes()) == MEMBER_HASH
    except OSError:
        return False


def fetch_niivue(path: Path = SCRIPT) -> str | None:
    """Download the file with npm unless it exists; return None, or the reason of a failure in one line.

    npm's own settings apply: `npm_config_offline=true` disables the network.
    """
    if has_niivue(path):
        return None
    npm = shutil.which("npm")
    if npm is None:
        return "npm (of Node.js) is not on the PATH"
    try:
        with tempfile.TemporaryDirectory() as folder:
            _write_atomically(path, _extract_script(_download_archive(npm, Path(folder))))
    except subprocess.TimeoutExpired:
        return f"npm did not answer within {TIMEOUT:.0f} s"
    except (OSError, ValueError, KeyError, tarfile.TarError) as error:
        return " ".join(str(error).split())[:300]
    return None


def _download_archive(npm: str, folder: Path) -> bytes:
    """Return npm's archive of the package; raise `ValueError` unless its hash is the expected one."""
    # --ignore-scripts: nothing of the package may run during installation.
    options = ["--ignore-scripts", "--fetch-retries=0", f"--fetch-timeout={TIMEOUT * 500:.0f}", "--loglevel=error"]
    command = [npm, "pack", PACKAGE, *options]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT, errors="replace")
    archives = list(folder.glob("*.tgz"))
    if process.returncode or len(archives) != 1:
        raise ValueError(f"npm pack {PACKAGE} failed with exit code {process.returncode}: {process.stderr.strip()}")
    archive = archives[0].read_bytes()
    if _hash(archive) != PACKAGE_HASH:
        raise ValueError(f"archive of {PACKAGE}: expected hash {PACKAGE_HASH}, got {_hash(archive)}")
    return archive


def _extract_script(archive: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        stream = members.extractfile(MEMBER)
        if stream is None:
            raise ValueError(f"archive of {PACKAGE}: expected a file {MEMBER}, found none")
        script = stream.read()
    if _hash(script) != MEMBER_HASH:
        raise ValueError(f"{MEMBER} of {PACKAGE}: expected hash {MEMBER_HASH}, got {_hash(script)}")
    return script


def _write_atomically(path: Path, content: bytes) -> None:
    """Write the file completely or not at all: two installations may run at the same time."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _hash(content: bytes) -> str:
    """Return the hash in npm's notation."""
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
