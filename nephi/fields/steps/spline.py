"""Splines through keypoints as steps of a stored transform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from nephi.fields.steps.step import Step, pop_tensor
from nephi.transforms import AffineTransform, Spline

ROUNDING = 1e-12  # relative deviation of a matrix from a multiple of a rotation


@dataclass(frozen=True, eq=False)
class SplineStep(Step):
    """A thin-plate spline; its inverse is solved by Newton's method."""

    kind: ClassVar[str] = "spline"
    transform: ClassVar[type[Spline]] = Spline

    spline: Spline

    @classmethod
    def of(cls, transform: Spline, inverse: Spline | None = None) -> Self:
        """Return the step of a spline."""
        return cls(transform)

    @property
    def forward(self) -> Spline:
        """The deformation (world mm, RAS)."""
        return self.spline

    def conjugated(self, to_world: AffineTransform) -> SplineStep | None:
        """Return the spline in another world; None unless `to_world` scales all distances by the same factor."""
        linear = to_world.matrix[:-1, :-1]
        scales = linear.T @ linear
        square = scales.diagonal().mean()
        identity = torch.eye(len(linear), dtype=torch.float64)
        if bool((scales - square * identity).abs().max() > ROUNDING * square):
            return None
        matrix = linear @ self.spline.matrix @ torch.linalg.inv(linear)
        translation = linear @ self.spline.translation + to_world.matrix[:-1, -1] - matrix @ to_world.matrix[:-1, -1]
        coefficients = self.spline.coefficients @ linear.T
        length = self.spline.length * float(square.sqrt())
        return SplineStep(Spline(to_world(self.spline.centres), coefficients, matrix, translation, length))

    def table(self) -> dict[str, Any]:
        """Return the length of the kernel's unit, mm."""
        return {"length": self.spline.length}

    def tensors(self) -> dict[str, Tensor]:
        """Return the parameters of `Spline`, float64: coefficients of close keypoints are large and cancel."""
        spline = self.spline
        tensors = {"centres": spline.centres, "coefficients": spline.coefficients, "matrix": spline.matrix}
        tensors["translation"] = spline.translation
        # Copied, as safetensors refuses tensors that share memory.
        return {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}

    @classmethod
    def read(cls, table: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """Return the step of a file."""
        shapes: dict[str, tuple[int | None, ...]] = {"centres": (None, None), "coefficients": (None, None)}
        shapes |= {"matrix": (None, None), "translation": (None,)}
        parts = {name: pop_tensor(tensors, name, shape, torch.float64) for name, shape in shapes.items()}
        return cls(Spline(**parts, length=float(table["length"])))
