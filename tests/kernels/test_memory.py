"""Test that tensors are verified before their addresses are passed to C."""

from __future__ import annotations

import ast
import timeit
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import nephi
from nephi import kernels
from nephi.images import Image, ImageSampler, smoothed
from nephi.kernels import FieldArrays, PatchFrame
from nephi.kernels.memory import address, allocate, is_readable, plain
from nephi.kernels.volume import TYPES, volume_in_order

PACKAGE = Path(nephi.__file__).parent


def test_addresses_are_taken_in_one_module() -> None:
    modules = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("data_ptr", "ctypes", "const_data_ptr", "storage")
    }
    # images/mapping.py only compares an address with that of a mapped file.
    assert modules <= {"kernels/memory.py", "images/mapping.py"}


def misaligned(shape: tuple[int, ...]) -> Tensor:
    """Return a float32 tensor whose memory starts 2 bytes after a multiple of 4."""
    count = int(torch.tensor(shape).prod())
    return torch.frombuffer(bytearray(4 * count + 2), dtype=torch.float32, offset=2, count=count).reshape(shape)


INVALID: dict[str, Callable[[Tensor], Tensor]] = {
    "float64": lambda x: x.double(),
    "float16": lambda x: x.half(),
    "bfloat16": lambda x: x.bfloat16(),
    "int32": lambda x: x.int(),
    "complex": lambda x: x.to(torch.complex64),
    "transposed": lambda x: x.transpose(0, -1).contiguous().transpose(0, -1),
    "every other": lambda x: x.repeat_interleave(2, dim=-1)[..., ::2],
    "expanded": lambda x: x[:1].expand_as(x),
    "shorter": lambda x: x[:-1],
    "longer": lambda x: torch.cat([x, x]),
    "one more axis": lambda x: x[None],
    "without a device": lambda x: x.to("meta"),
    "sparse": lambda x: x.to_sparse(),
    "misaligned": lambda x: misaligned(tuple(x.shape)),
}


@pytest.mark.parametrize("kind", INVALID)
def test_invalid_tensors_are_refused(kind: str) -> None:
    valid = torch.arange(12, dtype=torch.float32).reshape(4, 3)
    assert address(valid, "points", (4, 3)) == valid.data_ptr()
    with pytest.raises((TypeError, RuntimeError)) as error:
        address(INVALID[kind](valid), "points", (4, 3))
    if kind != "sparse":  # refused by torch
        assert "points: expected a tensor of float32 (4, 3), contiguous, in main memory, got " in str(error.value)


def test_allocate_ignores_the_default_dtype() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        tensor, pointer = allocate(torch.zeros(1, dtype=torch.float32), (3, 2))
    finally:
        torch.set_default_dtype(torch.float32)
    assert address(tensor, "new", (3, 2)) == pointer
    for other in (torch.zeros(1).double(), torch.zeros(1).to("meta")):
        with pytest.raises(TypeError, match="result: expected"):
            allocate(other, (3, 2))


def test_lazy_negative_signs_are_resolved() -> None:
    """The imaginary part of a conjugate is a view with a lazy negative sign."""
    negative = torch.complex(torch.zeros(5), torch.arange(5.0)).conj().imag
    assert negative.is_neg() and not plain(negative).is_neg() and torch.equal(plain(negative), -torch.arange(5.0))
    assert not is_readable(negative.reshape(1, 5), TYPES)


def arrays(parameters: list[Tensor] | None = None, **changes: Tensor) -> FieldArrays:
    """Return a field of two levels in 2-D: 3 by 2 and 5 by 4 cells, 4 channels, 6 hidden units."""
    tensors = {
        "cells": torch.tensor([[3, 2], [5, 4]]),
        "starts": torch.tensor([0, 12]),
        "to_unit": torch.eye(2) / 10,
        "offset": torch.zeros(2),
        "amplitude": torch.eye(2),
        **changes,
    }
    shapes = (42, 4), (6, 8), (6,), (2, 6), (2,)
    return FieldArrays(**tensors, parameters=tuple(parameters or [torch.randn(shape) for shape in shapes]))


POINTS = torch.rand(30, 2)
PATCHES = torch.rand(7, 5)


def with_parameters(**changes: Tensor) -> FieldArrays:
    """Return the field with parameters replaced after construction, as by an optimiser."""
    field = arrays()
    names = ("table", "first", "first_bias", "last", "last_bias")
    field.parameters = tuple(changes.get(n, p) for n, p in zip(names, field.parameters, strict=True))
    return field


CALLS: dict[str, tuple[Tensor, Callable[[Tensor], object]]] = {
    "points": (POINTS, lambda x: kernels.field_values(arrays(), x, True)),
    "cells": (torch.tensor([[3, 2], [5, 4]]), lambda x: arrays(cells=x)),
    "starts": (torch.tensor([0, 12]), lambda x: arrays(starts=x)),
    "to_unit": (torch.eye(2) / 10, lambda x: arrays(to_unit=x)),
    "offset": (torch.zeros(2), lambda x: arrays(offset=x)),
    "amplitude": (torch.eye(2), lambda x: arrays(amplitude=x)),
    "table": (torch.randn(42, 4), lambda x: kernels.field_values(with_parameters(table=x), POINTS, True)),
    "first": (torch.randn(6, 8), lambda x: kernels.field_values(with_parameters(first=x), POINTS, False)),
    "last bias": (torch.randn(2), lambda x: kernels.field_values(with_parameters(last_bias=x), POINTS, False)),
    "inverse": (POINTS, lambda x: kernels.field_inverse(arrays(), x, POINTS, 1e-3, 5)),
    "inverse's start": (POINTS, lambda x: kernels.field_inverse(arrays(), POINTS, x, 1e-3, 5)),
    "up": (POINTS, lambda x: gradient(arrays(), x, None)),
    "up, Jacobians": (torch.rand(30, 2, 2), lambda x: gradient(arrays(), None, x)),
    "sums": (torch.zeros(42, 4), lambda x: gradient(arrays(), POINTS, None, x)),
    "adam": (torch.zeros(9), lambda x: step(x)),
    "compared": (PATCHES, lambda x: kernels.compare(PATCHES, x, None, {"mse": 1.0}, (1e-3, 1e-3), True)),
    "weights": (torch.ones(7), lambda x: kernels.compare(PATCHES, PATCHES, x, {"mse": 1.0}, (1e-3, 1e-3), True)),
    "round trip": (POINTS, lambda x: kernels.round_trip(POINTS, x, *2 * [torch.rand(30, 2, 2)], (1.0,) * 5, 0.1, 0.1)),
    "Jacobians": (
        torch.rand(30, 2, 2),
        lambda x: kernels.round_trip(POINTS, POINTS, x, torch.rand(30, 2, 2), (1.0,) * 5, 0.1, 0.1),
    ),
    "interpolate": (POINTS, lambda x: kernels.interpolate(torch.rand(4, 5), x, None, True)),
    "centres": (POINTS, lambda x: interpolate_patches(x, None)),
    "matrices": (torch.rand(30, 2, 2), lambda x: interpolate_patches(POINTS, x)),
    "patches' gradient": (
        torch.rand(30, 2, 3),
        lambda x: kernels.patches_gradient(frame(), x, torch.rand(30, 3), True),
    ),
    "by values": (torch.rand(30, 3), lambda x: kernels.patches_gradient(frame(), torch.rand(30, 2, 3), x, True)),
}


def gradient(field: FieldArrays, moved: Tensor | None, slopes: Tensor | None, table: Tensor | None = None) -> object:
    sums = [torch.zeros_like(p) for p in field.parameters]
    return kernels.field_gradient(field, POINTS, moved, slopes, True, sums if table is None else [table, *sums[1:]])


def step(gradient: Tensor) -> None:
    kernels.adam_step(torch.zeros(9), gradient, torch.zeros(9), torch.zeros(9), (0.9, 0.99), (0.1, 0.1), 1.0, 1e-8)


def frame() -> PatchFrame:
    return PatchFrame(torch.eye(2), torch.zeros(2), torch.rand(3, 2))


def interpolate_patches(centres: Tensor, matrices: Tensor | None) -> object:
    return kernels.interpolate_patches(torch.rand(4, 5), None, frame(), centres, matrices, True)


@pytest.mark.parametrize("kind", ["float64", "float16", "int32", "shorter", "one more axis", "without a device"])
@pytest.mark.parametrize("argument", CALLS)
def test_every_argument_of_every_kernel_is_verified(argument: str, kind: str) -> None:
    valid, call = CALLS[argument]
    call(valid)
    if kind == "one more axis" and argument == "interpolate":
        kind = "float64"  # points may have any number of axes
    if kind == "shorter" and argument in ("points", "interpolate", "cells", "starts", "centres"):
        kind = "float64"  # ... and any number
    with pytest.raises((TypeError, ValueError, RuntimeError, IndexError)):
        call(INVALID[kind](valid))


def test_voxels_are_verified() -> None:
    for invalid in (torch.rand(4, 5).half(), torch.rand(4, 5).to("meta"), torch.rand(4), torch.rand(2, 2, 2, 2)):
        with pytest.raises(TypeError, match=r"voxels: expected a 2-D or 3-D array of float32 or .* got "):
            volume_in_order(invalid, None, list(range(invalid.ndim)))
        assert not kernels.can_read_through(invalid)
    with pytest.raises(TypeError, match="without gaps"):
        kernels.smooth(torch.rand(4, 10)[:, ::2], None, [torch.eye(4), torch.eye(5)])
    with pytest.raises(TypeError, match=r"matrices: expected .* columns"):
        kernels.smooth(torch.rand(4, 5), None, [torch.eye(4), torch.eye(4)])
    with pytest.raises(TypeError, match="2-D array like the patches"):
        kernels.interpolate_patches(torch.rand(4, 5, 6), None, frame(), POINTS, None, True)


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.half(),
        lambda x: x.bfloat16(),
        lambda x: x.long(),
        lambda x: x.to(torch.int8),
        lambda x: x.T.contiguous().T,
        lambda x: x.repeat_interleave(2, dim=-1)[..., ::2],
        lambda x: misaligned((6, 7)).copy_(x),
        lambda x: -torch.complex(torch.zeros_like(x), x).conj().imag.neg().neg(),
        lambda x: torch.complex(torch.zeros_like(x), -x).conj().imag,
    ],
    ids=["half", "bfloat16", "int64", "int8", "fortran", "gaps", "misaligned", "copied sign", "lazy sign"],
)
def test_images_in_any_memory_format_are_read_correctly(convert: Callable[[Tensor], Tensor]) -> None:
    """By a kernel, or in torch for unsupported formats."""
    voxels = torch.randint(0, 100, (6, 7), generator=torch.Generator().manual_seed(0)).float()
    grid = nephi.Grid.from_spacing((6, 7), (1.5, 2.0))
    points = torch.rand(40, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([8.0, 13.0])
    image, converted = Image(voxels, grid), Image(convert(voxels), grid)
    offsets = torch.tensor([[0.0, 0.0], [0.4, -0.3], [-0.6, 0.5]])
    for sample in (lambda s: s(points), lambda s: s.patches(points, offsets)):
        torch.testing.assert_close(sample(ImageSampler(converted)), sample(ImageSampler(image)), rtol=0, atol=2e-4)
    torch.testing.assert_close(smoothed(converted, 2.0).data, smoothed(image, 2.0).data, rtol=1e-5, atol=1e-4)
    assert converted.foreground.voxels == image.foreground.voxels


def test_verification_is_fast() -> None:
    """A step of a fit verifies a hundred addresses in a millisecond, so 5 microseconds each would slow it down."""
    points = torch.rand(512, 3)
    seconds = min(timeit.repeat(lambda: address(points, "points", (512, 3)), number=1000, repeat=7)) / 1000
    assert seconds < 2e-5
