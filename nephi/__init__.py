"""nephi: deformable registration of medical images by neural deformation fields.

The public names are listed in `__init__.pyi` and loaded when first used: `import nephi` does not import torch.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def _advice(missing: str | None) -> str:
    """Return the command that installs a missing package: in a clone that of the clone, else that of nephi."""
    folder = Path(__file__).parents[1]
    install = f"-e {folder}" if (folder / "pyproject.toml").is_file() else "nephi"
    return f"nephi needs {missing}, which is not installed; run: {sys.executable} -m pip install {install}"


try:
    from lazy_loader import attach_stub
except ModuleNotFoundError as error:
    raise ImportError(_advice(error.name)) from None

__version__ = "0.1.0"

_load, __dir__, __all__ = attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    try:
        with _collector_paused():
            return _load(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("", "nephi"):
            raise
        raise ImportError(_advice(error.name)) from error


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the garbage collector: it takes a quarter of the time of importing torch."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
