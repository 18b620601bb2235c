"""Agreement of the structures of two images under many affine maps, whatever their contrasts."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.images import ImageSampler
from nephi.losses import nmi
from nephi.preparation import Pair
from nephi.sampling import GridPoints, MaskPoints, patch_offsets
from nephi.transforms import Transform

FLOOR = 0.02  # standard deviation of a patch, in windows: with less a patch counts as flat
BINS = 12  # of the joint histogram, along each axis
AT_ONCE = 1_000_000  # samples that are interpolated in one operation, to bound memory


class StructureScore:
    """Agreement of the images of a pair, smoothed by `sigma` mm, under affine maps from fixed to moving points.

    It is measured on patches of 3^D samples `sigma` mm apart around random points: half of them in the fixed mask, all
    of them in the whole grid if there is none. A point outside the moving image counts as disagreement, so that a small
    overlap does not win.

    * `structure`: the squared correlation of a patch with its counterpart, less that with the counterpart of another
      random point. It is positive where edges and textures coincide, bright or dark alike, and about 0 elsewhere.
    * `information`: the mutual information of the intensities in nats a point, less its expectation for unrelated
      images, (bins - 1)^2 / 2 a histogram (Miller, 1955).
    """

    def __init__(self, pair: Pair, sigma: float, count: int, generator: torch.Generator) -> None:
        self.fixed = ImageSampler(pair.fixed_levels.at(sigma))
        self.moving = ImageSampler(pair.moving_levels.at(sigma))
        self.points = _points(pair, count, generator)
        self.offsets = patch_offsets(pair.fixed.dimension, 1, sigma)
        patches = self.fixed.patches(self.points, self.offsets)
        self.values = patches[:, patches.shape[1] // 2]
        self.patches, self.variances = _centred(patches)

    @torch.no_grad()
    def __call__(self, matrices: Tensor) -> Tensor:
        """Return structure and information `(N, 2)`, float32, under homogeneous world matrices `(N, D + 1, D + 1)`."""
        count = max(1, AT_ONCE // (len(self.points) * len(self.offsets)))
        return torch.cat([self._scores(part) for part in matrices.split(count)])

    @torch.no_grad()
    def under(self, transform: Transform) -> float:
        """Return the structure under any map from fixed to moving points, by its first-order patches."""
        points, jacobians = (result.float().contiguous() for result in transform.value_and_jacobian(self.points))
        patches = self.moving.patches(points, self.offsets, jacobians)
        return float(self._structure(patches[None], self.moving.contains(points)[None])[0])

    def dissimilarity(self, matrix: Tensor, offset: Tensor) -> Tensor:
        """Return the loss of a refinement under `x -> matrix x + offset`, float32; differentiable in both.

        It is 1 - the mean squared correlation of patches, plus the `nmi` loss of their centres. Either alone has maxima
        at wrong places: the correlation along surfaces, the information where contrasts differ from place to place.
        """
        moving_points = self.points @ matrix.T + offset
        patches = self.moving.patches(moving_points, self.offsets, matrix.expand(len(moving_points), -1, -1))
        inside = self.moving.contains(moving_points.detach()).float()
        centres = patches[:, patches.shape[1] // 2]
        unpredicted = nmi(self.values[:, None], centres[:, None], inside, bins=BINS)
        moving, variances = _centred(patches)
        correlations = _squared_correlation(self.patches, moving, self.variances, variances)
        return 1 - (correlations * inside).mean() + unpredicted

    def _scores(self, matrices: Tensor) -> Tensor:
        (count, d), size = (len(matrices), self.points.shape[1]), len(self.points)
        linear = matrices[:, :-1, :-1].float()
        moving_points = self.points @ linear.transpose(1, 2) + matrices[:, None, :-1, -1].float()
        jacobians = linear[:, None].expand(count, size, d, d).reshape(-1, d, d)
        patches = self.moving.patches(moving_points.reshape(-1, d), self.offsets, jacobians).view(count, size, -1)
        inside = self.moving.contains(moving_points)
        information = self._information(patches[..., patches.shape[-1] // 2], inside)
        return torch.stack([self._structure(patches, inside), information], dim=1)

    def _structure(self, patches: Tensor, inside: Tensor) -> Tensor:
        """Return the structure `(N,)` of moving patches `(N, P, K)`, of whose centres those `inside` count."""
        moving, variances = _centred(patches)
        matching = _squared_correlation(self.patches, moving, self.variances, variances)
        others = (part.roll(len(self.points) // 3, dims=0) for part in (self.patches, self.variances))
        unrelated = _squared_correlation(next(others), moving, next(others), variances)
        return ((matching - unrelated) * inside).mean(dim=1)

    def _information(self, values: Tensor, inside: Tensor) -> Tensor:
        """Return the information `(N,)` of the moving values `(N, P)` about the fixed ones."""
        count = len(values)
        rows, columns = (v.clamp(0, 1).mul(BINS - 1).round().long() for v in (self.values, values))
        cells = (torch.arange(count)[:, None] * BINS + rows) * BINS + columns
        histograms = torch.bincount(cells[inside], minlength=count * BINS**2).view(count, BINS, BINS).double()
        totals = histograms.sum(dim=(1, 2))
        joint = histograms / totals.clamp_min(1)[:, None, None]
        information = _entropy(joint.sum(dim=1)) + _entropy(joint.sum(dim=2)) - _entropy(joint)
        used = [((histograms.sum(dim=axis) > 0).sum(dim=1) - 1).clamp_min(0) for axis in (1, 2)]
        return ((totals * information - used[0] * used[1] / 2) / len(self.points)).float()


def _points(pair: Pair, count: int, generator: torch.Generator) -> Tensor:
    whole = GridPoints(pair.fixed.grid)
    if pair.fixed_mask is None:
        return whole.draw(count, generator)
    return torch.cat([MaskPoints(pair.fixed_mask).draw(count // 2, generator), whole.draw(count // 2, generator)])


def _centred(patches: Tensor) -> tuple[Tensor, Tensor]:
    centred = patches - patches.mean(dim=-1, keepdim=True)
    return centred, centred.square().mean(dim=-1) + FLOOR**2


def _squared_correlation(fixed: Tensor, moving: Tensor, fixed_variances: Tensor, moving_variances: Tensor) -> Tensor:
    return (fixed * moving).mean(dim=-1).square() / (fixed_variances * moving_variances)


def _entropy(probabilities: Tensor) -> Tensor:
    return -(probabilities * probabilities.clamp_min(1e-12).log()).flatten(1).sum(dim=1)
