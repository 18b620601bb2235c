"""Call of the kernel of a whole objective: similarity in both directions and penalties of a pair of fields."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from nephi.kernels.field import FieldArrays
from nephi.kernels.interpolation import PatchFrame, volume_to_interpolate
from nephi.kernels.library import library, threads
from nephi.kernels.memory import address, plain
from nephi.kernels.regularity import PENALTIES
from nephi.kernels.similarity import Measure, measure_of
from nephi.kernels.volume import Window

_Pair = ctypes.c_void_p * 2


class _Channel(ctypes.Structure):
    """`Channel` of objective.h."""

    _fields_ = (("images", _Pair), ("frames", _Pair), ("measure", Measure), ("further", ctypes.c_int64))


class _Objective(ctypes.Structure):
    """`Objective` of objective.h."""

    _fields_ = (
        ("fields", _Pair),
        ("gradients", _Pair),
        ("channels_count", ctypes.c_int64),
        ("channels", ctypes.c_void_p),
        ("background_count", ctypes.c_int64),
        ("shared", ctypes.c_int64),
        ("centres_counts", ctypes.c_int64 * 2),
        ("background", ctypes.c_void_p),
        ("centres", _Pair),
        ("weights", ctypes.c_float * len(PENALTIES)),
        ("floor", ctypes.c_float),
        ("epsilon", ctypes.c_float),
    )


@dataclass(frozen=True)
class ChannelPatches:
    """The images of a channel, fixed and moving, with their windows and frames, and how patches are compared.

    `factors` and `epsilons` are those of `compare`. Patches of a `further` channel do not count if their centre lies
    outside of the image around whose points they are compared.
    """

    images: tuple[Tensor, Tensor]
    windows: tuple[Window | None, Window | None]
    frames: tuple[PatchFrame, PatchFrame]
    factors: Mapping[str, float]
    epsilons: tuple[float, float]
    further: bool = False


class PairObjective:
    """The objective of a pair of fields for the images of one level; see `objective.fused`.

    `shared` is the number of patch centres at which the penalties are computed beside the background points; `floor`
    and `epsilon` are those of `round_trip`.
    """

    def __init__(
        self,
        arrays: tuple[FieldArrays, FieldArrays],
        channels: Sequence[ChannelPatches],
        shared: int,
        floor: float,
        epsilon: float,
    ) -> None:
        self._arrays = arrays
        self._kept: list[object] = [*channels]  # alive, as the structures hold only addresses
        self._channels = (_Channel * len(channels))(*map(self._channel, channels))
        self._terms = (ctypes.c_double * (len(channels) + len(PENALTIES)))()
        self._structure = _Objective(
            channels_count=len(channels),
            channels=ctypes.addressof(self._channels),
            shared=shared,
            floor=floor,
            epsilon=epsilon,
        )

    def add_gradient(
        self, background: Tensor, fixed: Tensor, moving: Tensor, weights: Sequence[float]
    ) -> tuple[list[float], list[float]]:
        """Add the gradient to the parameters' `.grad`; return the similarity of each channel, and the penalties.

        `background` `(B, D)`, and the centres of patches in the `fixed` and `moving` image `(P, D)`, are float32 world
        mm. `weights` are those of one direction, in the order of `PENALTIES`.
        """
        native = library()
        assert native is not None
        structure, dimension = self._structure, self._arrays[0].dimension
        background, fixed, moving = plain(background), plain(fixed), plain(moving)
        structure.background_count, structure.centres_counts[:] = len(background), (len(fixed), len(moving))
        structure.background = address(background, "background", (len(background), dimension))
        structure.centres[0] = address(fixed, "fixed", (len(fixed), dimension))
        structure.centres[1] = address(moving, "moving", (len(moving), dimension))
        structure.weights[:] = weights
        sums = [arrays.gradients() for arrays in self._arrays]
        gradients = [a.gradient_structure(tensors) for a, tensors in zip(self._arrays, sums, strict=True)]
        for side, (arrays, gradient) in enumerate(zip(self._arrays, gradients, strict=True)):
            structure.fields[side] = ctypes.addressof(arrays.structure())
            structure.gradients[side] = ctypes.addressof(gradient)
        if native.nephi_objective(ctypes.byref(structure), self._terms, threads()):
            raise MemoryError("not enough memory for the points of a step")
        terms = list(self._terms)
        return terms[: len(self._channels)], terms[len(self._channels) :]

    def _channel(self, channel: ChannelPatches) -> _Channel:
        dimensions = {*(image.ndim for image in channel.images), *(frame.dimension for frame in channel.frames)}
        if dimensions != {self._arrays[0].dimension} or channel.frames[0].samples != channel.frames[1].samples:
            raise TypeError("channels: expected images and patches of the dimension of the fields, alike on both sides")
        volumes = [volume_to_interpolate(*each) for each in zip(channel.images, channel.windows, strict=True)]
        self._kept += volumes
        return _Channel(
            _Pair(*map(ctypes.addressof, volumes)),
            _Pair(*(ctypes.addressof(frame.structure) for frame in channel.frames)),
            measure_of(0, channel.frames[0].samples, channel.factors, channel.epsilons),
            channel.further,
        )
