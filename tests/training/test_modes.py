"""A training does not depend on the gradient mode and default dtype of the calling program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import nephi
from nephi.training import TrainSettings

from .conftest import with_loop


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def usual(settings: TrainSettings, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("usual") / "run"
    nephi.train(with_loop(settings, steps=4), folder, device="cpu")
    return (folder / "last.safetensors").read_bytes()


@pytest.mark.parametrize(
    "mode",
    [
        torch.no_grad,
        torch.inference_mode,
        lambda: default_dtype(torch.float64),
        lambda: default_dtype(torch.bfloat16),
    ],
    ids=["no_grad", "inference_mode", "float64", "bfloat16"],
)
def test_the_model_does_not_depend_on_the_mode(settings: TrainSettings, usual: bytes, mode, tmp_path: Path) -> None:
    with mode():
        nephi.train(with_loop(settings, steps=4), tmp_path / "run", device="cpu")
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == usual
