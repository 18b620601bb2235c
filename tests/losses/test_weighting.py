import torch

from nephi.losses.weighting import normalized_weights, weighted_mean


def test_normalized_weights() -> None:
    patches = torch.rand(4, 2, dtype=torch.float64)
    weights = normalized_weights(torch.tensor([1, 0, 2, 1]), patches)
    assert weights.dtype == torch.float64 and weights.tolist() == [0.25, 0.0, 0.5, 0.25]
    assert normalized_weights(None, patches).tolist() == [0.25] * 4
    assert normalized_weights(torch.zeros(4), patches).tolist() == [0.0] * 4


def test_very_small_weights_keep_their_ratio() -> None:
    weights = normalized_weights(torch.tensor([3e-30, 1e-30]), torch.rand(2, 1))
    torch.testing.assert_close(weights, torch.tensor([0.75, 0.25]))


def test_weighted_mean() -> None:
    values = torch.tensor([1.0, 5.0, 3.0])
    assert weighted_mean(values, None) == 3
    assert weighted_mean(values, torch.tensor([3.0, 1.0, 0.0])) == 2
    assert weighted_mean(values, torch.zeros(3)) == 0
