"""Points of half precision and integers have the values of float32 and float64 points."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from nephi.errors import UsageError
from nephi.fields import FieldSettings, build_fields
from nephi.fields.inverse import PolishedInverse
from nephi.geometry import Grid
from nephi.transforms import (
    AffineTransform,
    BSplineField,
    Composite,
    ContinuedDisplacement,
    DisplacementField,
    NumericalInverse,
    Transform,
)

GRID = Grid.from_spacing((12, 10), (12.0, 12.0), (-60.0, -50.0))
POINTS = torch.tensor([[-40, 30], [3, -7], [25, 12], [0, 0]])


def displacement() -> torch.Tensor:
    return 3 * torch.rand(12, 10, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float32)


def fields(encoding: str) -> list[Transform]:
    settings = FieldSettings(encoding=encoding, spacings=(40.0, 20.0))
    pair = build_fields(settings, GRID, torch.Generator().manual_seed(0)).requires_grad_(False)
    for parameter in pair.parameters():
        parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return [pair.forward_field, PolishedInverse(pair.forward_field, pair.inverse_field)]


AFFINE = AffineTransform(torch.tensor([[1.1, 0.1, 2.4], [-0.05, 0.9, -3.7], [0, 0, 1]], dtype=torch.float64))
MAPS: dict[str, Callable[[], Transform]] = {
    "affine": lambda: AFFINE,
    "displacement": lambda: DisplacementField(displacement(), GRID),
    "continued": lambda: ContinuedDisplacement(displacement(), GRID),
    "splines": lambda: BSplineField(displacement(), GRID),
    "inverse": lambda: NumericalInverse(DisplacementField(displacement(), GRID)),
    "chain": lambda: Composite([AFFINE, DisplacementField(displacement(), GRID), AFFINE]),
    "kernel": lambda: fields("dense")[0],
    "kernel's inverse": lambda: fields("dense")[1],
    "fourier": lambda: fields("fourier")[0],
    "fourier's inverse": lambda: fields("fourier")[1],
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", MAPS)
def test_half_precision_is_rounded_once(kind: str, dtype: torch.dtype) -> None:
    transform, points = MAPS[kind](), POINTS.to(dtype)
    for found, expected in zip(
        (transform(points), *transform.value_and_jacobian(points)),
        (transform(points.float()), *transform.value_and_jacobian(points.float())),
        strict=True,
    ):
        assert found.dtype == dtype and torch.equal(found, expected.to(dtype))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16])
@pytest.mark.parametrize("kind", MAPS)
def test_integers_are_float64(kind: str, dtype: torch.dtype) -> None:
    transform, points = MAPS[kind](), POINTS.to(dtype)
    assert torch.equal(transform(points), transform(points.double()))
    for found, expected in zip(
        transform.value_and_jacobian(points), transform.value_and_jacobian(points.double()), strict=True
    ):
        assert found.dtype == torch.float64 and torch.equal(found, expected)


@pytest.mark.parametrize("kind", MAPS)
@pytest.mark.parametrize("shape", [(3, 4), (6, 1), (4,), ()])
def test_points_of_another_shape_are_refused(kind: str, shape: tuple[int, ...]) -> None:
    """Even if their numbers could be reshaped to points of two coordinates."""
    transform = MAPS[kind]()
    for method in (transform, transform.value_and_jacobian):
        with pytest.raises(UsageError, match=rf"\(\.\.\., 2\) of real numbers, .* got {re.escape(str(shape))}"):
            method(torch.zeros(shape))


@pytest.mark.parametrize("kind", MAPS)
def test_arrays_and_complex_numbers_are_refused(kind: str) -> None:
    transform = MAPS[kind]()
    array: Any = POINTS.numpy()
    with pytest.raises(UsageError, match=r"expected a tensor .* got ndarray; convert it"):
        transform(array)
    with pytest.raises(UsageError, match=r"got .*complex"):
        transform.value_and_jacobian(POINTS.to(torch.complex64))
