"""No tensor becomes a pointer unless it is what C takes it for."""

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


def test_addresses_are_taken_in_one_place() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("data_ptr", "ctypes", "const_data_ptr", "storage")
    }
    # The second compares an address with that of a mapped file, and gives none to C.
    assert found <= {"kernels/memory.py", "images/mapping.py"}


def misaligned(shape: tuple[int, ...]) -> Tensor:
    """A float32 tensor whose memory begins 2 bytes beyond a multiple of 4."""
    count = int(torch.tensor(shape).prod())
    return torch.frombuffer(bytearray(4 * count + 2), dtype=torch.float32, offset=2, count=count).reshape(shape)


WRONG: dict[str, Callable[[Tensor], Tensor]] = {
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


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_refused(kind: str) -> None:
    good = torch.arange(12, dtype=torch.float32).reshape(4, 3)
    assert address(good, "points", (4, 3)) == good.data_ptr()
    with pytest.raises((TypeError, RuntimeError)) as error:
        address(WRONG[kind](good), "points", (4, 3))
    if kind != "sparse":  # torch refuses these itself
        assert "points: expected a tensor of float32 (4, 3), contiguous, in main memory, got " in str(error.value)


def test_a_new_array_is_what_was_ordered() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        tensor, pointer = allocate(torch.zeros(1, dtype=torch.float32), (3, 2))
    finally:
        torch.set_default_dtype(torch.float32)
    assert address(tensor, "new", (3, 2)) == pointer
    for other in (torch.zeros(1).double(), torch.zeros(1).to("meta")):
        with pytest.raises(TypeError, match="result: expected"):
            allocate(other, (3, 2))


def test_signs_are_written_out() -> None:
    """The imaginary part of a conjugate is a view that only says that its sign is turned."""
    turned = torch.complex(torch.zeros(5), torch.arange(5.0)).conj().imag
    assert turned.is_neg() and not plain(turned).is_neg() and torch.equal(plain(turned), -torch.arange(5.0))
    assert not is_readable(turned.reshape(1, 5), TYPES)


def arrays(parameters: list[Tensor] | None = None, **changes: Tensor) -> FieldArrays:
    """A field of two levels in 2-D: 3 by 2 and 5 by 4 cells, 4 channels, 6 hidden units."""
    given = {
        "cells": torch.tensor([[3, 2], [5, 4]]),
        "starts": torch.tensor([0, 12]),
        "to_unit": torch.eye(2) / 10,
        "offset": torch.zeros(2),
        "amplitude": torch.eye(2),
        **changes,
    }
    shapes = (42, 4), (6, 8), (6,), (2, 6), (2,)
    return FieldArrays(**given, parameters=tuple(parameters or [torch.randn(shape) for shape in shapes]))


POINTS = torch.rand(30, 2)
PATCHES = torch.rand(7, 5)


def a_field(**changes: Tensor) -> FieldArrays:
    """The same with a parameter changed afterwards, as an optimiser or a caller may."""
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
    "table": (torch.randn(42, 4), lambda x: kernels.field_values(a_field(table=x), POINTS, True)),
    "first": (torch.randn(6, 8), lambda x: kernels.field_values(a_field(first=x), POINTS, False)),
    "last bias": (torch.randn(2), lambda x: kernels.field_values(a_field(last_bias=x), POINTS, False)),
    "inverse": (POINTS, lambda x: kernels.field_inverse(arrays(), x, POINTS, 1e-3, 5)),
    "inverse's start": (POINTS, lambda x: kernels.field_inverse(arrays(), POINTS, x, 1e-3, 5)),
    "up": (POINTS, lambda x: gradient(arrays(), x, None)),
    "up, Jacobians": (torch.rand(30, 2, 2), lambda x: gradient(arrays(), None, x)),
    "sums": (torch.zeros(42, 4), lambda x: gradient(arrays(), POINTS, None, x)),
    "adam": (torch.zeros(9), lambda x: step(x)),
    "compared": (PATCHES, lambda x: kernels.compare(PATCHES, x, None, {"mse": 1.0}, (1e-3, 1e-3), True)),
    "weights": (torch.ones(7), lambda x: kernels.compare(PATCHES, PATCHES, x, {"mse": 1.0}, (1e-3, 1e-3), True)),
    "round trip": (POINTS, lambda x: kernels.round_trip(POINTS, x, *2 * [torch.rand(30, 2, 2)], (1.0,) * 4, 0.1)),
    "Jacobians": (
        torch.rand(30, 2, 2),
        lambda x: kernels.round_trip(POINTS, POINTS, x, torch.rand(30, 2, 2), (1.0,) * 4, 0.1),
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
def test_every_argument_of_every_kernel_is_checked(argument: str, kind: str) -> None:
    good, call = CALLS[argument]
    call(good)
    if kind == "one more axis" and argument == "interpolate":
        kind = "float64"  # points may have any number of axes
    if kind == "shorter" and argument in ("points", "interpolate", "cells", "starts", "centres"):
        kind = "float64"  # ... and any number
    with pytest.raises((TypeError, ValueError, RuntimeError, IndexError)):
        call(WRONG[kind](good))


def test_voxels_are_checked() -> None:
    for bad in (torch.rand(4, 5).half(), torch.rand(4, 5).to("meta"), torch.rand(4), torch.rand(2, 2, 2, 2)):
        with pytest.raises(TypeError, match=r"voxels: expected a 2-D or 3-D array of float32 or .* got "):
            volume_in_order(bad, None, list(range(bad.ndim)))
        assert not kernels.can_read_through(bad)
    with pytest.raises(TypeError, match="without gaps"):
        kernels.smooth(torch.rand(4, 10)[:, ::2], None, [torch.eye(4), torch.eye(5)])
    with pytest.raises(TypeError, match=r"matrices: expected .* columns"):
        kernels.smooth(torch.rand(4, 5), None, [torch.eye(4), torch.eye(4)])
    with pytest.raises(TypeError, match="2-D array like the patches"):
        kernels.interpolate_patches(torch.rand(4, 5, 6), None, frame(), POINTS, None, True)


@pytest.mark.parametrize(
    "other",
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
def test_images_of_any_kind_are_read_right(other: Callable[[Tensor], Tensor]) -> None:
    """By a kernel, or in torch where none serves."""
    voxels = torch.randint(0, 100, (6, 7), generator=torch.Generator().manual_seed(0)).float()
    grid = nephi.Grid.from_spacing((6, 7), (1.5, 2.0))
    points = torch.rand(40, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([8.0, 13.0])
    usual, odd = Image(voxels, grid), Image(other(voxels), grid)
    offsets = torch.tensor([[0.0, 0.0], [0.4, -0.3], [-0.6, 0.5]])
    for ask in (lambda s: s(points), lambda s: s.patches(points, offsets)):
        torch.testing.assert_close(ask(ImageSampler(odd)), ask(ImageSampler(usual)), rtol=0, atol=2e-4)
    torch.testing.assert_close(smoothed(odd, 2.0).data, smoothed(usual, 2.0).data, rtol=1e-5, atol=1e-4)
    assert odd.foreground.voxels == usual.foreground.voxels


def test_checking_costs_next_to_nothing() -> None:
    """A step of a fit takes a hundred addresses, in a millisecond: 5 microseconds each would be felt."""
    points = torch.rand(512, 3)
    seconds = min(timeit.repeat(lambda: address(points, "points", (512, 3)), number=1000, repeat=7)) / 1000
    assert seconds < 2e-5
