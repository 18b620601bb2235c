"""nephi: deformable registration of medical images by neural deformation fields.

The public names are listed in `__init__.pyi` and loaded when first used: `import nephi` does not import torch.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lazy_loader import attach_stub

__version__ = "0.1.0"

_load, __dir__, __all__ = attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    with _collector_paused():
        return _load(name)


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
