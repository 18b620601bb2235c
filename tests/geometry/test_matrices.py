"""Determinants in closed form."""

import pytest
import torch

from nephi.geometry import determinant


@pytest.mark.parametrize("size", [2, 3])
def test_determinants_and_their_gradient_agree_with_torch(size: int) -> None:
    matrices = torch.randn(4, 5, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(determinant(matrices), torch.linalg.det(matrices))
    assert torch.autograd.gradcheck(determinant, matrices.requires_grad_())
