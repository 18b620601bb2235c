"""Looking an image up at world points and on first-order patches."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.geometry import lookup
from nephi.images.image import Image


class ImageSampler:
    """Multilinear lookup of a windowed image: `(low, high)` becomes `(0, 1)`, values beyond are clamped.

    The window acts on the interpolated value, so integer voxels are never copied to float.
    Beyond the image its border value continues; `contains` tells which points those are.
    """

    def __init__(self, image: Image, window: tuple[float, float] | None = None) -> None:
        self.image = image
        self.window = window
        affine = image.grid.inverse_affine
        self._linear = affine[:-1, :-1].T.to(image.data.device, torch.float32)
        self._offset = affine[:-1, -1].to(image.data.device, torch.float32)
        self._upper = torch.tensor(image.grid.shape, device=image.data.device) - 0.5

    def __call__(self, points_world: Tensor) -> Tensor:
        """Return the values `(...)`, float32, at world points `(..., D)`; differentiable with respect to the points."""
        return self._at_voxels(
            torch.addmm(self._offset, points_world.reshape(-1, self.image.dimension).float(), self._linear).reshape(
                points_world.shape
            )
        )

    def patches(self, centres: Tensor, offsets: Tensor, jacobians: Tensor | None = None) -> Tensor:
        """Return values `(P, K)` at `centre + jacobian @ offset`: patches carried along to first order.

        `centres` `(P, D)` and `offsets` `(K, D)` are world mm; `jacobians` `(P, D, D)`, identity when omitted.
        The frame change happens on the P centres and matrices, not on the P * K samples.
        """
        centres_voxel = torch.addmm(self._offset, centres, self._linear)
        if jacobians is None:
            points = centres_voxel[:, None] + offsets @ self._linear
        else:
            count, d, _ = jacobians.shape
            steps = (self._linear.T @ jacobians).reshape(count * d, d) @ offsets.T
            points = (centres_voxel[:, :, None] + steps.view(count, d, -1)).transpose(1, 2)
        return self._at_voxels(points)

    def contains(self, points_world: Tensor) -> Tensor:
        """Return a bool tensor `(...)`: does the point lie in the image, half a voxel of border included?"""
        voxel = points_world.float() @ self._linear + self._offset
        return ((voxel >= -0.5) & (voxel <= self._upper)).all(dim=-1)

    def _at_voxels(self, points_voxel: Tensor) -> Tensor:
        return lookup(self.image.data, points_voxel, self.window)
