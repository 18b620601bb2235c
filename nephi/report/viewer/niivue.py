"""NiiVue, the part of the viewer that others wrote: which file it is, and fetching it when nephi is installed.

setup.py runs this file by itself, before nephi or anything that it needs is installed: the standard library only.
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
PATIENCE = 60.0  # seconds for npm: an installation does not hang where the network does


def has_niivue(path: Path = SCRIPT) -> bool:
    """Tell whether the file is there, and is the one that the viewer was written for."""
    try:
        return _hash(path.read_bytes()) == MEMBER_HASH
    except OSError:
        return False


def fetch_niivue(path: Path = SCRIPT) -> str | None:
    """Fetch the file with npm unless it is there; return None, or in one line why it could not be fetched.

    npm's settings hold as always: `npm_config_offline=true` keeps it from the network.
    """
    if has_niivue(path):
        return None
    npm = shutil.which("npm")
    if npm is None:
        return "npm (of Node.js) is not on the PATH"
    try:
        with tempfile.TemporaryDirectory() as folder:
            _replace(path, _member(_packed(npm, Path(folder))))
    except subprocess.TimeoutExpired:
        return f"npm did not answer within {PATIENCE:.0f} s"
    except (OSError, ValueError, KeyError, tarfile.TarError) as error:
        return " ".join(str(error).split())[:300]
    return None


def _packed(npm: str, folder: Path) -> bytes:
    """Return npm's archive of the package, once its hash is right."""
    # --ignore-scripts: the package is data here, nothing of it runs on this machine.
    options = ["--ignore-scripts", "--fetch-retries=0", f"--fetch-timeout={PATIENCE * 500:.0f}", "--loglevel=error"]
    command = [npm, "pack", PACKAGE, *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, errors="replace")
    found = list(folder.glob("*.tgz"))
    if done.returncode or len(found) != 1:
        raise ValueError(f"npm pack {PACKAGE} ended with {done.returncode}: {done.stderr.strip()}")
    archive = found[0].read_bytes()
    if _hash(archive) != PACKAGE_HASH:
        raise ValueError(f"npm's archive of {PACKAGE} is not the one expected: its hash is {_hash(archive)}")
    return archive


def _member(archive: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        stream = opened.extractfile(MEMBER)
        if stream is None:
            raise ValueError(f"{PACKAGE} holds no file {MEMBER}")
        script = stream.read()
    if _hash(script) != MEMBER_HASH:
        raise ValueError(f"{MEMBER} of {PACKAGE} is not the file expected: its hash is {_hash(script)}")
    return script


def _replace(path: Path, content: bytes) -> None:
    """Write the file whole or not at all: two installations may run at once."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _hash(content: bytes) -> str:
    """Return the hash in the form that npm tells it in."""
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
