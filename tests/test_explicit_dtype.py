"""Every call that creates a tensor names its dtype: torch's default belongs to the program that calls nephi.

Read from the syntax tree. `tests/test_default_dtype.py` detects the rest when it runs, such as the quotient of two
integer tensors, which has the default type as well.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(p for folder in ("nephi", "cli", "data_scripts") for p in (ROOT / folder).rglob("*.py"))
FACTORIES = {
    *("zeros", "ones", "full", "eye", "empty", "empty_strided", "tensor", "as_tensor", "asarray", "scalar_tensor"),
    *("linspace", "logspace", "rand", "randn", "normal", "hann_window", "hamming_window", "blackman_window"),
    *("bartlett_window", "kaiser_window", "sparse_coo_tensor"),
}
RANGES = {"arange", "range"}  # of integers, unless a bound is a float
LAYERS = {
    *("Linear", "Bilinear", "Embedding", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose2d", "ConvTranspose3d"),
    *("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "GroupNorm", "LayerNorm", "PReLU", "MultiheadAttention"),
    *("Convolution3d", "convolution"),  # those of nephi.models.networks.blocks
}
TYPELESS = {"Tensor", "set_default_dtype", "set_default_tensor_type", "get_default_dtype"}


def _name(function: ast.expr) -> tuple[str, str]:
    """Return the owner and the name of a called attribute: `("torch", "zeros")`; `("", name)` for a plain name."""
    if isinstance(function, ast.Attribute):
        return ast.unparse(function.value), function.attr
    if isinstance(function, ast.Call):  # convolution(dimension)(...)
        return "", _name(function.func)[1]
    return "", function.id if isinstance(function, ast.Name) else ""


def _is_float(node: ast.expr) -> bool:
    return any(isinstance(n, ast.Constant) and isinstance(n.value, float) for n in ast.walk(node))


def _imports_factory(node: ast.ImportFrom) -> bool:
    return any(alias.name in FACTORIES | RANGES for alias in node.names)


def typeless(source: str) -> Iterator[int]:
    """Yield the lines of calls whose result has the default type."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "torch" and _imports_factory(node):
            yield node.lineno  # a call by the plain name would not be detected
        if not isinstance(node, ast.Call):
            continue
        owner, name = _name(node.func)
        chained = isinstance(node.func, ast.Call)
        explicit = any(keyword.arg in ("dtype", None) for keyword in node.keywords)
        by_torch = owner == "torch"
        if by_torch and name in FACTORIES and not explicit:
            yield node.lineno
        if by_torch and name in RANGES and not explicit and any(map(_is_float, node.args)):
            yield node.lineno
        if (
            by_torch
            and name == "where"
            and len(node.args) == 3
            and all(isinstance(a, ast.Constant) for a in node.args[1:])
        ):
            yield node.lineno
        if by_torch and name in TYPELESS:
            yield node.lineno
        layer = (owner in ("nn", "torch.nn") and name in LAYERS) or (owner == "" and name in LAYERS)
        if layer and not explicit and (chained or name != "convolution"):
            yield node.lineno


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_factory_names_its_type(path: Path) -> None:
    lines = list(typeless(path.read_text(encoding="utf-8")))
    assert not lines, f"{path.relative_to(ROOT)}, lines {lines}: expected dtype=..., found a call without it"


@pytest.mark.parametrize(
    "source",
    [
        "torch.zeros(3)",
        "torch.tensor([1.0, 2.0]).double()",
        "torch.tensor(shape)",
        "torch.eye(3).to(points)",
        "torch.rand(3, generator=g)",
        "torch.arange(0.5, 3)",
        "torch.where(inside, 1.0, 0.0)",
        "torch.Tensor(3)",
        "from torch import zeros",
        "nn.Linear(2, 3)",
        "convolution(2)(3, 4, 3)",
    ],
)
def test_calls_without_a_type_are_detected(source: str) -> None:
    assert list(typeless(source))


@pytest.mark.parametrize(
    "source",
    [
        "torch.zeros(3, dtype=torch.float32)",
        "torch.tensor(shape, dtype=torch.int64)",
        "torch.arange(3)",
        "torch.zeros_like(points)",
        "points.new_zeros(3)",
        "torch.where(inside, values, 0.0)",
        "torch.full(shape, **like)",
        "nn.LeakyReLU(0.2)",
        "convolution(2)",
        "convolution(2)(3, 4, 3, dtype=torch.float32)",
        "from torch import Tensor",
    ],
)
def test_calls_with_a_type_are_accepted(source: str) -> None:
    assert not list(typeless(source))
