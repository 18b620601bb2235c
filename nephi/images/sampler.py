"""Interpolation of an image at world points and on first-order patches."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nephi.geometry import interpolate
from nephi.images.image import Image
from nephi.kernels import PatchFrame, can_interpolate, interpolate_patches, patches_gradient


class ImageSampler:
    """Multilinear interpolator of a windowed image: `(low, high)` becomes `(0, 1)`, values beyond are clamped.

    The window acts on the interpolated value, so integer voxels are never copied to float. Outside of the image its
    border values continue; `contains` returns which points are inside.
    """

    def __init__(self, image: Image, window: tuple[float, float] | None = None) -> None:
        self.image = image
        self.window = window
        affine = image.grid.inverse_affine
        self._linear = affine[:-1, :-1].T.to(image.data.device, torch.float32)
        self._offset = affine[:-1, -1].to(image.data.device, torch.float32)
        self._frame: tuple[Tensor, PatchFrame] | None = None  # of the most recent offsets
        self._upper = torch.tensor(image.grid.shape, dtype=torch.float32, device=image.data.device) - 0.5

    def with_data(self, data: Tensor) -> ImageSampler:
        """Return a sampler of other voxels on the same grid, on the same device."""
        sampler = copy.copy(self)
        sampler.image = self.image.with_data(data)
        return sampler

    def __call__(self, points_world: Tensor) -> Tensor:
        """Return the values `(...)`, float32, at world points `(..., D)`; differentiable with respect to the points."""
        return self._interpolate(
            torch.addmm(self._offset, points_world.reshape(-1, self.image.dimension).float(), self._linear).reshape(
                points_world.shape
            )
        )

    def patches(self, centres: Tensor, offsets: Tensor, jacobians: Tensor | None = None) -> Tensor:
        """Interpolate first-order patches: return values `(P, K)` at `centre + jacobian @ offset`.

        `centres` `(P, D)` and `offsets` `(K, D)` are world mm; `jacobians` are `(P, D, D)`, None for the identity.
        Differentiable with respect to centres and Jacobians. Only the P centres and matrices are converted to voxel
        coordinates, not the P * K samples.
        """
        if not can_interpolate(self.image.data, centres) or len(offsets) == 1:
            return self._interpolate(self._patch_points(centres, offsets, jacobians))
        inputs = self.image.data, self.window, self.frame(offsets)
        if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (centres, jacobians)):
            result: Tensor = _Patches.apply(*inputs, centres, jacobians)  # type: ignore[no-untyped-call]
            return result
        return interpolate_patches(*inputs, centres, jacobians, gradient=False).values

    def frame(self, offsets: Tensor) -> PatchFrame:
        """Return the kernels' structure of patches with samples at `offsets` `(K, D)`, world mm."""
        if self._frame is None or self._frame[0] is not offsets:
            self._frame = offsets, PatchFrame(self._linear.T, self._offset, offsets)
        return self._frame[1]

    def contains(self, points_world: Tensor) -> Tensor:
        """Return a bool tensor `(...)`: whether a point lies inside the image, half a voxel of border included."""
        voxel = points_world.float() @ self._linear + self._offset
        return ((voxel >= -0.5) & (voxel <= self._upper)).all(dim=-1)

    def _patch_points(self, centres: Tensor, offsets: Tensor, jacobians: Tensor | None) -> Tensor:
        """Return the voxel coordinates `(P, K, D)` of the patches' samples."""
        centres_voxel = torch.addmm(self._offset, centres, self._linear)
        if jacobians is None:
            return centres_voxel[:, None] + offsets @ self._linear
        count, d, _ = jacobians.shape
        steps = (self._linear.T @ jacobians).reshape(count * d, d) @ offsets.T
        return (centres_voxel[:, :, None] + steps.view(count, d, -1)).transpose(1, 2)

    def _interpolate(self, points_voxel: Tensor) -> Tensor:
        return interpolate(self.image.data, points_voxel, self.window)


class _Patches(torch.autograd.Function):
    """Patches by the compiled kernel, which computes gradients with the values; the backward pass contracts them."""

    @staticmethod
    def forward(ctx, data, window, frame, centres, jacobians):  # type: ignore[no-untyped-def]
        values, gradients, _ = interpolate_patches(data, window, frame, centres, jacobians, gradient=True)
        ctx.frame = frame
        ctx.save_for_backward(gradients)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx, by_values):  # type: ignore[no-untyped-def]
        (gradients,) = ctx.saved_tensors
        by_centres, by_jacobians = patches_gradient(ctx.frame, gradients, by_values, ctx.needs_input_grad[4])
        return None, None, None, by_centres, by_jacobians
