"""Programs of ANTs and greedy from their Python packages, and snakemake, for the blocks that call them."""

from __future__ import annotations

import atexit
import importlib.util
import sys
import tempfile
from functools import cache
from pathlib import Path

BODIES = {
    ("antsApplyTransforms", "ants"): "from ants.internal import get_lib_fn; call = get_lib_fn(sys.argv[1])\n"
    "sys.exit(call(sys.argv[2:]))",
    ("greedy", "picsl_greedy"): "import picsl_greedy\npicsl_greedy.Greedy3D().execute(' '.join(sys.argv[4:]))",
}


@cache
def folder() -> Path:
    """Return a folder for the PATH with scripts of the programs whose packages are installed."""
    holder = tempfile.TemporaryDirectory(prefix="nephi-programs-")
    atexit.register(holder.cleanup)
    for (name, module), body in BODIES.items():
        if importlib.util.find_spec(module) is not None:
            script = Path(holder.name, name)
            script.write_text(f"#!{sys.executable}\nimport sys\nsys.argv[1:1] = ['{name}']\n{body}\n", encoding="utf-8")
            script.chmod(0o755)
    snakemake = Path(sys.prefix, "snakemake", "bin", "snakemake")  # installed by `make test`
    if snakemake.exists():
        Path(holder.name, "snakemake").symlink_to(snakemake)
    return Path(holder.name)
