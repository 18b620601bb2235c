"""Labels compared at points: chosen at random, looked up as linear memberships, pulled onto each other."""

from __future__ import annotations

import pytest
import torch

from nephi.geometry import Grid
from nephi.objective.labels import ComparedLabels, choose_labels, label_dissimilarity

GRID = Grid((24, 18), torch.tensor([[2.0, 0.2, -5.0], [-0.3, 3.0, 7.0], [0.0, 0.0, 1.0]], dtype=torch.float64))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(count: int = 4000) -> torch.Tensor:
    unit = torch.rand(count, 2, generator=generator(), dtype=torch.float64)
    return GRID.voxel_to_world_points(unit * torch.tensor(GRID.shape) - 0.5).float()


def block(label: int, first: int) -> torch.Tensor:
    """A label map of one block."""
    labels = torch.zeros(GRID.shape, dtype=torch.int64)
    labels[first : first + 8, 4:12] = label
    return labels


def test_only_labels_of_both_images_are_chosen() -> None:
    fixed, moving = block(7, 4) + block(2**40, 14), block(2**40, 4) + block(5, 14)
    chosen = choose_labels(fixed, moving, (points(), points()), GRID, 14, generator())
    assert chosen.tolist() == [2**40]
    none = choose_labels(fixed, torch.zeros_like(fixed), (points(), points()), GRID, 14, generator())
    assert none.shape == (0,)


def test_as_many_labels_as_allowed_are_chosen_at_random() -> None:
    labels = torch.arange(24 * 18).reshape(GRID.shape) // 40
    every = {seed: choose_labels(labels, labels, (points(), points()), GRID, 3, generator(seed)) for seed in range(30)}
    assert all(len(chosen) == 3 == len(chosen.unique()) for chosen in every.values())
    assert {label for chosen in every.values() for label in chosen.tolist()} == set(range(1, 11))


def test_shifted_labels_overlap_partly_and_are_pulled_together() -> None:
    """Blocks of 8 voxels, one and four voxels apart; the gradient points along the shift that remains."""
    centres = points()[None]
    losses = []
    for voxels in (0, 1, 4):
        compared = ComparedLabels(block(3, 6)[None], block(3, 6 + voxels)[None], [torch.tensor([3])], GRID)
        shift = torch.zeros(2, requires_grad=True)
        loss = label_dissimilarity(centres + shift, centres, compared)
        loss.backward()
        losses.append(loss.item())
        assert shift.grad is not None
        if voxels:
            step = GRID.voxel_to_world_vectors(torch.tensor([float(voxels), 0.0], dtype=torch.float64)).float()
            assert float(-shift.grad @ step) > 0
    assert losses[0] == pytest.approx(0, abs=0.002)
    assert losses[1] == pytest.approx(1 / 8, abs=0.04) and losses[2] == pytest.approx(4 / 8, abs=0.05)


def test_a_pair_without_labels_counts_nothing_and_keeps_a_gradient() -> None:
    centres = points(50)[None].expand(2, -1, -1)
    labels = [torch.tensor([3]), torch.zeros(0, dtype=torch.int64)]
    maps = torch.stack([block(3, 6)] * 2), torch.stack([block(3, 15)] * 2)
    shift = torch.zeros(2, 1, 2, requires_grad=True)
    both = label_dissimilarity(centres + shift, centres, ComparedLabels(*maps, labels, GRID))
    first = label_dissimilarity(centres[:1], centres[:1], ComparedLabels(maps[0][:1], maps[1][:1], labels[:1], GRID))
    assert both.item() == pytest.approx(0.5 * first.item())
    both.backward()
    assert shift.grad is not None and bool(shift.grad.isfinite().all()) and not bool(shift.grad[1].any())


def test_points_mapped_outside_belong_to_no_label() -> None:
    """The border does not continue."""
    labels = torch.full((1, *GRID.shape), 3)
    centres, chosen = points(200)[None], [torch.tensor([3])]
    far = label_dissimilarity(centres + 1e3, centres, ComparedLabels(labels, labels, chosen, GRID))
    assert far.item() == pytest.approx(1 - 1 / 201)
