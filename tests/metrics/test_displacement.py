"""Lengths of displacements, and their local part."""

from __future__ import annotations

import math

import pytest
import torch

from nephi.metrics import Lengths, local_displacements


def test_lengths_of_known_vectors() -> None:
    vectors = torch.zeros(101, 3, dtype=torch.float32)
    vectors[:, 1] = torch.arange(101)
    assert Lengths.of(vectors) == Lengths(50.0, 95.0, 100.0)
    assert math.isnan(Lengths.of(vectors[:0]).mean)


@pytest.mark.parametrize("dimension", [2, 3])
def test_an_affine_map_has_no_local_part(dimension: int) -> None:
    generator = torch.Generator().manual_seed(0)
    points = 50 * torch.randn(200, dimension, generator=generator, dtype=torch.float64) + 300
    matrix = torch.randn(dimension, dimension, generator=generator, dtype=torch.float64)
    mapped = points @ matrix.T + 20
    assert float(local_displacements(points, mapped).abs().max()) < 1e-9


def test_the_local_part_is_orthogonal_to_affine_maps() -> None:
    """Least squares leave what no affine map explains: adding one to the map does not change it."""
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(300, 2, generator=generator, dtype=torch.float64) * 80
    wave = torch.sin(points / 5)
    local = local_displacements(points, points + wave)
    assert torch.allclose(local_displacements(points, 1.1 * points - 7 + wave), local, atol=1e-9)
    assert float((local.T @ points).abs().max()) < 1e-6 and 0.5 < float(local.std() / wave.std()) < 1.01
