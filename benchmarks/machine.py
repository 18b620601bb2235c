"""Say on what machine, when and with what the numbers were made."""

from __future__ import annotations

import os
import platform
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("nephi", "torch", "numpy", "SimpleITK")


def machine() -> dict[str, Any]:
    """Return date, processor, memory, command and versions, without importing anything large."""
    script, *words = (Path(word).name for word in sys.argv)
    return {
        "date": date.today().isoformat(),
        "machine": f"{_processor()}, {_memory_gb():.0f} GB memory",
        "python": platform.python_version(),
        "versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "command": " ".join(
            ["python", f"benchmarks/{Path(sys.argv[0]).name}", *(Path(word).name for word in sys.argv[1:])]
        ),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} x {names[0] if names else platform.processor() or platform.machine()}"


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
