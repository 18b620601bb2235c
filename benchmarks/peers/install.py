"""Install other tools from the package registry, each in a separate environment `.peers/NAME`.

    python benchmarks/peers/install.py [NAME ...]       # without a name: all

`benchmarks/requirements-NAME.txt` pins the versions. On Linux `pip` may choose the CUDA build of PyTorch for convexadam
and fireants; configure it for a CPU build first if you do not need CUDA.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent
ENVIRONMENTS = BENCHMARKS.parent / ".peers"


def main() -> int:
    """Install all selected tools; report those that fail."""
    known = sorted(path.stem.removeprefix("requirements-") for path in BENCHMARKS.glob("requirements-*.txt"))
    names = sys.argv[1:] or known
    if unknown := set(names) - set(known):
        sys.exit(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    failed = [name for name in names if not installed(name)]
    print(f"not installed: {', '.join(failed)}" if failed else f"installed: {', '.join(names)}")
    return len(failed)


def installed(name: str) -> bool:
    """Create the environment of one tool and install it; return whether this succeeded."""
    folder = ENVIRONMENTS / name
    commands = (
        [sys.executable, "-m", "venv", folder],
        [folder / "bin" / "python", "-m", "pip", "install", "-q", "-r", BENCHMARKS / f"requirements-{name}.txt"],
    )
    return all(subprocess.run(command, check=False).returncode == 0 for command in commands)


if __name__ == "__main__":
    sys.exit(main())
