import pytest

from nephi import kernels


@pytest.fixture(autouse=True)
def built() -> None:
    if not kernels.available():
        pytest.skip("the kernels were not built: no compiler at installation")
