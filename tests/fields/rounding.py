"""Bounds of the difference between two evaluations of one field in single precision."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from nephi.fields import NeuralField

UNIT = 2.0**-24  # relative error of one float32 operation
DRAWS = 12
SAFETY = 4.0  # for the worst of all errors, which a dozen draws do not meet


def rounding_bounds(field: NeuralField, points: Tensor) -> tuple[float, float]:
    """Bound the difference of values (mm) and of Jacobians between two float32 evaluations at points `(N, D)`.

    Libraries add the terms of a matrix product in an order that depends on the processor and on the number of rows.
    By backward error analysis (Higham, Accuracy and Stability of Numerical Algorithms, 3.5) a computed product is the
    exact one of matrices whose entries are off by `n * 2^-24`, n the number of terms: so are the frequencies of an
    encoding, where at a phase of 100 rad that is 1e-5 rad. Here all numbers of the field are moved by random amounts
    of that size, in float64, and the largest change is what either evaluation may be off.
    """
    exact = copy.deepcopy(field).double()
    generator = torch.Generator().manual_seed(0)
    points = points.detach().double()
    numbers = [t for t in (*exact.parameters(), *exact.buffers()) if t.is_floating_point()]
    usual = [t.detach().clone() for t in numbers]
    changes = [0.0, 0.0]
    with torch.no_grad():
        expected = exact.value_and_jacobian(points)
        for _ in range(DRAWS):
            for number, value in zip(numbers, usual, strict=True):
                off = 2 * torch.rand(value.shape, generator=generator, dtype=torch.float64) - 1
                terms = value.shape[-1] + 1  # of the longest sum that it is part of, with the bias
                number.copy_(value * (1 + terms * UNIT * off))
            for k, (one, other) in enumerate(zip(exact.value_and_jacobian(points), expected, strict=True)):
                changes[k] = max(changes[k], float((one - other).abs().max()))
    largest = float(points.abs().max())  # values are points plus displacements, rounded once more
    return SAFETY * changes[0] + 2 * UNIT * largest, SAFETY * changes[1] + 2 * UNIT
