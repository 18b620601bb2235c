"""The interface of the deformations of which a stored transform is composed."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.tables import short_repr
from nephi.transforms import AffineTransform, NumericalInverse, Transform


class Step(abc.ABC):
    """One deformation of a stored transform, of points in world mm (RAS), with what a file holds of it.

    A new kind is one file with a subclass, and one entry in `nephi.fields.STEPS`.
    """

    kind: ClassVar[str]
    """The kind's name in files."""
    transform: ClassVar[type[Transform]]
    """The transforms that are stored as this kind, see `nephi.fields.step_of`."""
    version: ClassVar[int] = 3
    """The first version of `.nephi` files that can hold this kind."""

    @classmethod
    @abc.abstractmethod
    def of(cls, transform: Any, inverse: Any | None = None) -> Self:
        """Return the step of a transform of the type `transform`, on the CPU and detached.

        `inverse` is given where the transform was predicted together with one, of the same type, that belongs to it
        (`Maps.inverts`). Kinds that compute the inverse from the transform itself need not keep it.
        """

    @property
    @abc.abstractmethod
    def forward(self) -> Transform:
        """The deformation (world mm, RAS)."""

    @property
    def dimension(self) -> int:
        """Number of coordinates D, 2 or 3."""
        return self.forward.dimension

    @property
    def grid(self) -> Grid | None:
        """The grid on which the deformation is defined; None for kinds without one."""
        return None

    @property
    def unrefined_inverse(self) -> Transform | None:
        """The inverse as it was fitted, predicted or computed without iteration; None without one."""
        return None

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(tensor.numel() for tensor in self.tensors().values())

    @property
    def file_version(self) -> int:
        """The first version of `.nephi` files that can hold this step."""
        return self.version

    def inverse(self, tolerance: float) -> Transform:
        """Return the inverse, solved until the residual is below `tolerance` mm."""
        return NumericalInverse(self.forward, self.unrefined_inverse, tolerance)

    def conjugated(self, to_world: AffineTransform) -> Step | None:
        """Return the step of `T phi T^-1`, T the affine map `to_world`: phi in another world.

        None where no step of this kind is exactly this map: then phi is stored between two affine steps.
        """
        return None

    @abc.abstractmethod
    def table(self) -> dict[str, Any]:
        """Return what the header of a file holds of the step, besides `kind`: plain values."""

    @abc.abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of a file, by name: contiguous, on the CPU, without shared memory."""

    @classmethod
    @abc.abstractmethod
    def read(cls, table: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """Return the step that `table` and `tensors` hold, both read from a file, and remove its tensors.

        Tensors are finite. Raises one of the errors `nephi.fields.UNFIT`, a `DataError` with a clear reason where
        another would not name it, if they do not fit together; before anything of another size than theirs is built.
        """

    def is_finite(self) -> bool:
        """Return whether all values are finite."""
        return all(bool(torch.isfinite(tensor).all()) for tensor in self.tensors().values())


def pop_tensor(
    tensors: dict[str, Tensor], name: str, shape: tuple[int | None, ...], dtype: torch.dtype = torch.float32
) -> Tensor:
    """Remove and return a tensor of a file; None in `shape` allows any size along that axis.

    Raises `KeyError` for a missing tensor, `DataError` for one of another type or shape.
    """
    tensor = tensors.pop(name)
    fits = tensor.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, tensor.shape, strict=True))
    if tensor.dtype != dtype or not fits:
        expected = ", ".join("any" if n is None else str(n) for n in shape)
        kind = str(dtype).removeprefix("torch.")
        raise DataError(
            f"{name}: expected {kind} values of shape ({expected}), found {tensor.dtype} of "
            f"{short_repr(tuple(tensor.shape))}"
        )
    return tensor
