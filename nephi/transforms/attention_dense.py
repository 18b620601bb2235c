"""The softmax means of coordinate attention: every point with every key, for B pairs at once, differentiable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nephi.geometry import Grid, full_precision, identity_like, interpolate, interpolate_with_gradient

SCORES = 2**23  # pairs of points and keys in memory at once where torch has no fused attention: 32 MiB in float32


@dataclass(frozen=True, eq=False)
class DenseAttention:
    """`tables` `(B, *grid.shape, C)`, `keys` `(B, M, C)`, `positions` `(M, D)`, `offsets` `(B, M)`, `bounds`.

    `bounds` `(B, 2, D)` are the lowest and highest voxel coordinates of `grid` between which features are compared;
    `positions` are mm from `centre`; `offsets` are added to the scores of the keys, if there are some. Beyond the
    bounds the map continues with the linear part `continuation` `(B, D, D)`, the identity if there is none.
    """

    tables: Tensor
    grid: Grid
    keys: Tensor
    positions: Tensor
    centre: Tensor
    offsets: Tensor | None
    bounds: Tensor
    continuation: Tensor | None = None

    @full_precision()
    def value(self, points: Tensor) -> Tensor:
        """Return the values `(B, N, D)` at points `(B, N, D)`."""
        positions = self.positions.to(points).expand(len(self.keys), -1, -1)
        return torch.cat(self._of_blocks(self._value, points, positions), dim=1)

    @full_precision()
    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values and the Jacobians `(B, N, D, D)`."""
        blocks = self._of_blocks(self._value_and_jacobian, points, self._moments(points))
        values, jacobians = zip(*blocks, strict=True)
        return torch.cat(values, dim=1), torch.cat(jacobians, dim=1)

    def clamp(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the compared points in voxels, the continuation of the map from them in mm, and 1 where that is 0."""
        voxels = self.grid.world_to_voxel_points(points)
        low, high = self.bounds.to(points).unsqueeze(2).unbind(1)
        compared = voxels.maximum(low).minimum(high)
        beyond = self.grid.voxel_to_world_vectors(voxels - compared)
        if self.continuation is not None:
            beyond = beyond @ self.continuation.to(points).mT
        return compared, beyond, (compared == voxels).to(points)

    def jacobians(self, by_voxel: Tensor, inside: Tensor) -> Tensor:
        """Return d phi / dx from the derivatives of the means by voxels, both `(B, N, D, D)`; `inside`: see `clamp`."""
        linear, inverse = (matrix[:-1, :-1].to(by_voxel) for matrix in (self.grid.affine, self.grid.inverse_affine))
        by_voxel = (by_voxel - linear) * inside.unsqueeze(-2)
        if self.continuation is not None:
            turned = self.continuation.to(by_voxel) @ linear - linear
            by_voxel = by_voxel + turned.unsqueeze(1) * (1 - inside).unsqueeze(-2)
        return identity_like(inside) + by_voxel @ inverse

    def _of_blocks(self, function: Callable[..., Any], points: Tensor, values: Tensor) -> list[Any]:
        """Evaluate block after block of points; their scores are computed again in the backward pass, not kept."""
        keys = self.keys.to(points)
        blocks = points.split(max(1, SCORES // max(1, keys.shape[0] * keys.shape[1])), dim=1)
        return [
            checkpoint(function, block, keys, values, use_reentrant=False, preserve_rng_state=False) for block in blocks
        ]

    def _value(self, points: Tensor, keys: Tensor, positions: Tensor) -> Tensor:
        compared, beyond, _ = self.clamp(points)
        features = torch.stack([interpolate(table, own) for table, own in zip(self.tables, compared, strict=True)])
        means = softmax_means(features, keys, positions, self.offsets)
        return means + (self.centre.to(points) + beyond)

    def _value_and_jacobian(self, points: Tensor, keys: Tensor, moments: Tensor) -> tuple[Tensor, Tensor]:
        compared, beyond, inside = self.clamp(points)
        pairs = [interpolate_with_gradient(table, own) for table, own in zip(self.tables, compared, strict=True)]
        features, slopes = (torch.stack(parts) for parts in zip(*pairs, strict=True))
        means, covariance = covariances(softmax_means(features, keys, moments, self.offsets), points.shape[-1])
        return means + (self.centre.to(points) + beyond), self.jacobians(covariance @ slopes, inside)

    def _moments(self, points: Tensor) -> Tensor:
        return position_moments(self.positions.to(points).expand(len(self.keys), -1, -1), self.keys.to(points))


def softmax_means(queries: Tensor, keys: Tensor, values: Tensor, offsets: Tensor | None = None) -> Tensor:
    """Return the means `(B, N, W)` of `values` `(B, M, W)`, weighted by the softmax over M of `queries . keys`.

    `queries` are `(B, N, C)`, `keys` `(B, M, C)`; `offsets` `(B, M)` are added to the scores. By torch's fused
    attention, which keeps no scores and on the CPU requires one width of all: narrower tensors are filled with zeros.
    """
    width = max(keys.shape[-1], values.shape[-1])
    q, k, v = (_widened(each, width).unsqueeze(1) for each in (queries.to(keys), keys, values))
    mask = None if offsets is None else offsets.to(keys)[:, None, None]
    means = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
    return means.squeeze(1)[..., : values.shape[-1]]


def position_moments(positions: Tensor, keys: Tensor) -> Tensor:
    """Return what `covariances` needs of positions y and scores or keys k `(..., M, D or C)`: y, k and `y k^T`."""
    return torch.cat([positions, keys, (positions.unsqueeze(-1) * keys.unsqueeze(-2)).flatten(-2)], dim=-1)


def covariances(moments: Tensor, dimension: int) -> tuple[Tensor, Tensor]:
    """Return the means `(..., D)` of y, and its covariances `(..., D, C)` with k, from means of `position_moments`."""
    channels = (moments.shape[-1] - dimension) // (dimension + 1)
    means, mean_keys, products = moments.split([dimension, channels, dimension * channels], dim=-1)
    return means, products.unflatten(-1, (dimension, channels)) - means.unsqueeze(-1) * mean_keys.unsqueeze(-2)


def _widened(tensor: Tensor, width: int) -> Tensor:
    """Return the tensor with zeros appended to its last axis up to a width."""
    return tensor if tensor.shape[-1] == width else nn.functional.pad(tensor, (0, width - tensor.shape[-1]))
