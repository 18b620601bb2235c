"""Install peers from the package registry, each into an environment of its own, `.peers/NAME`.

    python benchmarks/peers/install.py [NAME ...]       # all without a name

What goes in is pinned in `benchmarks/requirements-NAME.txt`. On Linux `pip` may bring the CUDA build of PyTorch for
convexadam and fireants: point it at a CPU build first if you do not want that.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent
ENVIRONMENTS = BENCHMARKS.parent / ".peers"


def main() -> int:
    """Install; a peer that fails is said so and the others go on."""
    known = sorted(path.stem.removeprefix("requirements-") for path in BENCHMARKS.glob("requirements-*.txt"))
    names = sys.argv[1:] or known
    if strangers := set(names) - set(known):
        sys.exit(f"no such peer: {', '.join(sorted(strangers))}; there are {', '.join(known)}")
    failed = [name for name in names if not installed(name)]
    print(f"not installed: {', '.join(failed)}" if failed else f"installed: {', '.join(names)}")
    return len(failed)


def installed(name: str) -> bool:
    """Create the environment of one peer and install what it needs; return whether that worked."""
    folder = ENVIRONMENTS / name
    commands = (
        [sys.executable, "-m", "venv", folder],
        [folder / "bin" / "python", "-m", "pip", "install", "-q", "-r", BENCHMARKS / f"requirements-{name}.txt"],
    )
    return all(subprocess.run(command, check=False).returncode == 0 for command in commands)


if __name__ == "__main__":
    sys.exit(main())
