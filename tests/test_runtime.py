"""Where a fit runs."""

import os

import pytest
import torch

from nephi.errors import UsageError
from nephi.runtime import choose_device, cpu_threads


def test_auto_takes_the_gpu_where_there_is_one() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "CPU", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "cuda:0:1", "mps", "auto:1"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    if name == "cuda:" and torch.cuda.is_available():
        pytest.skip("torch reads it as cuda")
    with pytest.raises(UsageError, match=r"cuda:N|not there"):
        choose_device(name)


def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"'cuda:9000' is not there: found \d+ CUDA devices; use --device cpu"):
        choose_device("cuda:9000")


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with cpu_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError), cpu_threads(before + 1):
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == before


def test_0_threads_are_all() -> None:
    with cpu_threads(0):
        assert torch.get_num_threads() == os.cpu_count()
