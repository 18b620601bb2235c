from collections.abc import Iterator

import pytest
import torch

from nephi import kernels
from nephi.kernels import library as loading

PROCESSOR = torch.backends.cpu.get_cpu_capability()


@pytest.fixture(autouse=True, params=loading.LIBRARIES.get(PROCESSOR, ("_native",)))
def built(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run each test with every library that the CPU supports."""
    if not kernels.available():
        pytest.skip("the kernels were not built: no compiler at installation")
    if loading.load(request.param) is None:
        pytest.skip(f"{request.param} was not built: the compiler does not support these instructions")
    monkeypatch.setattr(loading, "LIBRARIES", {PROCESSOR: (request.param,)})
    loading.library.cache_clear()
    yield request.param
    loading.library.cache_clear()
