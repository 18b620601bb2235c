"""Describe the machine, the date and the versions of a measurement."""

from __future__ import annotations

import os
import platform
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2"}  # flags of the processor
PACKAGES = ("nephi", "torch", "numpy", "SimpleITK")


def machine() -> dict[str, Any]:
    """Return date, processor, memory, command and versions, without slow imports."""
    script, *words = (Path(word).name for word in sys.argv)
    return {
        "date": date.today().isoformat(),
        "machine": description(),
        "python": platform.python_version(),
        "versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "command": " ".join(
            ["python", f"benchmarks/{Path(sys.argv[0]).name}", *(Path(word).name for word in sys.argv[1:])]
        ),
    }


def description() -> str:
    """Return the processors, their widest vector instructions, and the memory."""
    info = Path("/proc/cpuinfo")
    lines = (
        [line.split(":", 1) for line in info.read_text(encoding="utf-8").splitlines() if ":" in line]
        if info.is_file()
        else []
    )
    facts = {name.strip(): value.strip() for name, value in lines}
    name = facts.get("model name") or platform.processor() or platform.machine()
    words = facts.get("flags", "").split()
    vectors = next((f" ({shown})" for flag, shown in VECTORS.items() if flag in words), "")
    return f"{os.cpu_count()} x {name}{vectors}, {_memory_gb():.0f} GB memory"


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
