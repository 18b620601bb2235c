"""Two channels of a phantom: complementary contrast, the same motion."""

import math

import torch

from nephi.phantoms import PhantomPair, shapes_phantom, two_channels

SHAPES = shapes_phantom(seed=1, motion=6.0, shape=(96, 96))


def contrast(pair: PhantomPair, inside: torch.Tensor) -> float:
    return float(pair.moving.data[inside].float().std())


def test_each_channel_shows_its_own_stripes() -> None:
    one, other = two_channels(SHAPES, 40.0, 0)
    x = SHAPES.moving.grid.voxel_centres()[..., 0]
    organ = SHAPES.moving_mask.data > 0
    stripe = torch.sin(math.pi * x / 40.0)
    first, second = organ & (stripe > 0.8), organ & (stripe < -0.8)
    assert contrast(one, first) > 3 * contrast(one, second)
    assert contrast(other, second) > 3 * contrast(other, first)
    assert one.landmarks is other.landmarks is SHAPES.landmarks


def test_seeds_change_the_noise_only() -> None:
    same, again, noisy = (two_channels(SHAPES, 40.0, seed)[0].fixed.data for seed in (0, 0, 1))
    assert torch.equal(same, again)
    difference = (same - noisy).float()
    assert 15 < float(difference.std()) < 30 and abs(float(difference.mean())) < 1
