"""The breathing study: exact landmarks, the direction of breathing, and what its images share."""

from __future__ import annotations

import pytest
import torch

from nephi.images import Image
from nephi.phantoms import BreathingStudy, breathing_study


@pytest.fixture(scope="module")
def study() -> BreathingStudy:
    return breathing_study(3)


def test_landmarks_are_exact_in_both_directions(study: BreathingStudy) -> None:
    fixed, moving = study.landmarks.fixed.coordinates, study.landmarks.moving.coordinates
    torch.testing.assert_close(study.transform(fixed), moving, rtol=0, atol=5e-3)
    torch.testing.assert_close(study.inverse(moving), fixed, rtol=0, atol=1e-3)
    distance = (fixed - moving).norm(dim=-1)
    affine = (study.affine(fixed) - moving).norm(dim=-1)
    assert 10 < float(distance.max()) < 21 and float(affine.mean()) < 0.6 * float(distance.mean())


def test_the_moving_image_is_the_inhaled_one(study: BreathingStudy) -> None:
    litres = [
        float(mask.data.sum() * mask.grid.spacing.prod()) / 1e6 for mask in (study.exhale_mask, study.inhale_mask)
    ]
    assert litres[1] > 1.05 * litres[0]
    centres = study.exhale.grid.voxel_centres()[study.exhale_mask.data > 0]
    _, jacobian = study.transform.value_and_jacobian(centres[::50])
    assert float(torch.linalg.det(jacobian).mean()) == pytest.approx(litres[1] / litres[0], rel=0.05)
    means = [float(i.data[m.data > 0].float().mean()) for i, m in _ct_and_masks(study)]
    assert means[1] < means[0] - 5  # inhaled lungs are less dense


def test_labels_divide_the_masks(study: BreathingStudy) -> None:
    for labels, mask in ((study.exhale_labels, study.exhale_mask), (study.inhale_labels, study.inhale_mask)):
        assert torch.equal(labels.data > 0, mask.data > 0)
        x = labels.grid.voxel_centres()[..., 0]
        assert float(x[labels.data == 1].min()) > 0 > float(x[labels.data == 2].max())


def test_grids_differ_and_are_right_handed(study: BreathingStudy) -> None:
    grids = study.exhale.grid, study.inhale.grid
    assert grids[0].shape != grids[1].shape and len(set(grids[0].shape)) == 3
    assert all(float(torch.linalg.det(grid.affine[:3, :3])) > 0 for grid in grids)
    assert study.exhale_mr.grid is study.exhale_mask.grid is grids[0]


def test_mr_has_another_contrast(study: BreathingStudy) -> None:
    """Bone is the brightest tissue of the CT, and dark in the MR; fat is brighter than muscle only in the MR."""
    ct, mr = study.exhale.data.float(), study.exhale_mr.data.float()
    bone, fat, muscle = (ct > 300), (ct - -100).abs() < 30, (ct - 45).abs() < 30
    assert float(mr[bone].mean()) < 200 < 300 < float(mr[muscle].mean()) < float(mr[fat].mean())
    assert int(study.exhale.data.min()) >= -1024 and int(study.exhale_mr.data.min()) >= 0


def _ct_and_masks(study: BreathingStudy) -> tuple[tuple[Image, Image], ...]:
    return (study.exhale, study.exhale_mask), (study.inhale, study.inhale_mask)
