"""Measures of pairs, against deformations that are known, and their pictures."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import nephi
from nephi.errors import DataError
from nephi.models import InputSettings, PairNetwork, input_grid
from nephi.phantoms import silhouettes
from nephi.training.cache import ModelInputCache
from nephi.training.pictures import panels
from nephi.training.validation import ValidatedPair, chosen_pairs, mean_measures, row_of, score, validate_pair
from nephi.transforms import AffineTransform, ContinuedDisplacement, MapPair, SingleMap, Transform

SHIFT = 4.0  # mm along the first axis, from fixed to moving
ROOM = (40, 30)


class Known(PairNetwork):
    """Predict the same affine maps for all images."""

    def __init__(self, phi: Transform, inverse: Transform | None) -> None:
        super().__init__()
        self.prediction = MapPair(SingleMap(phi), None if inverse is None else SingleMap(inverse))

    def forward(self, *_: object) -> MapPair:  # type: ignore[override]
        return self.prediction


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ModelInputCache:
    """A shape, and the same farther on; the moving image lies elsewhere in the world, on larger voxels."""
    folder = tmp_path_factory.mktemp("shift")
    picture, inside = (each[0] for each in silhouettes(1, torch.Generator().manual_seed(1), 30))
    for name, data in (("image", picture), ("labels", 2 * inside.to(torch.uint8))):
        for side, start, origin in (("fixed", 5, (0.0, 0.0)), ("moving", 7, (100.0, -50.0))):
            whole = data.new_zeros(ROOM)
            whole[start : start + 30] = data
            grid = nephi.Grid.from_spacing(ROOM, (2.0, 2.0), origin)
            nephi.write_image(nephi.Image(whole, grid), folder / f"{side}_{name}.nii.gz")
    points = torch.tensor([[30.0, 20.0], [44.0, 32.0]], dtype=torch.float64)
    moved = points + torch.tensor([100.0 + SHIFT, -50.0], dtype=torch.float64)
    nephi.write_point_pairs(folder / "p.csv", nephi.PointPairs.from_coordinates(points, moved))
    images = tuple(
        nephi.datasets.DatasetImage(side, "a", f"{side}_image.nii.gz", labels=f"{side}_labels.nii.gz")
        for side in ("fixed", "moving")
    )
    pair = nephi.datasets.DatasetPair("fixed", "moving", "p.csv")
    index = nephi.datasets.DatasetIndex(
        "shift", 2, images, {"val": nephi.datasets.DatasetSplit(("a",), (pair,))}, folder=folder
    )
    return ModelInputCache(index, InputSettings(ROOM, (2.0, 2.0), window=(0.0, 1.0)), 1e6)


def validated(inputs: ModelInputCache, phi: Transform, inverse: Transform | None = None) -> ValidatedPair:
    (pair,) = chosen_pairs(inputs.index, 5)
    return validate_pair(Known(phi, inverse), pair, inputs, torch.device("cpu"))


def shift(first: float) -> AffineTransform:
    return AffineTransform.translation(torch.tensor([first, 0.0], dtype=torch.float64))


def scale(first: float) -> AffineTransform:
    return AffineTransform(torch.diag(torch.tensor([first, 1.0, 1.0], dtype=torch.float64)))


def test_the_true_deformation_has_no_error(inputs: ModelInputCache) -> None:
    measures = validated(inputs, shift(SHIFT)).measures
    assert measures["dice"] == 1 and 0.5 < measures["dice_before"] < 0.95
    assert measures["tre_mm"] == pytest.approx(0, abs=1e-3) and measures["tre_before_mm"] == pytest.approx(SHIFT)
    assert measures["ncc"] == pytest.approx(1, abs=1e-4) and measures["ncc_before"] < 0.95
    assert measures["folding_percent"] == 0


def test_the_logarithm_of_the_determinant_varies_where_nothing_folds(inputs: ModelInputCache) -> None:
    """20 rows of determinant 1, 10 of 2, 10 of -1."""
    grid = input_grid(inputs.settings)
    slopes = torch.tensor([0.0] * 20 + [1.0] * 10 + [-2.0] * 9, dtype=torch.float32)
    displacement = torch.zeros(*ROOM, 2, dtype=torch.float32)
    displacement[1:, :, 0] = 2 * slopes.cumsum(0)[:, None]
    measures = validated(inputs, ContinuedDisplacement(displacement, grid)).measures
    assert measures["folding_percent"] == 25
    assert measures["log_jacobian_sd"] == pytest.approx(math.log(2) * math.sqrt(2) / 3, rel=1e-4)
    assert validated(inputs, shift(SHIFT)).measures["log_jacobian_sd"] == 0
    assert math.isnan(validated(inputs, scale(-1)).measures["log_jacobian_sd"])


def test_a_mirror_folds_everywhere(inputs: ModelInputCache) -> None:
    assert validated(inputs, scale(-1)).measures["folding_percent"] == 100


def test_the_inverse_error_is_the_distance_in_the_fixed_world(inputs: ModelInputCache) -> None:
    measures = validated(inputs, shift(SHIFT), shift(1 - SHIFT)).measures
    assert measures["inverse_error_mm"] == pytest.approx(1.0) == measures["inverse_error_max_mm"]
    assert "inverse_error_mm" not in validated(inputs, shift(SHIFT)).measures


@pytest.mark.parametrize("extent", ["fixed", "image"])
def test_folding_is_counted_at_every_voxel_centre(inputs: ModelInputCache, extent: str) -> None:
    inputs = ModelInputCache(inputs.index, replace(inputs.settings, extent=extent), 1e6)
    found = validated(inputs, scale(-1))
    assert found.determinants.shape == (1, *ROOM) and bool((found.determinants == -1).all())


def test_labels_and_landmarks_follow_a_scaled_input(inputs: ModelInputCache) -> None:
    """The field of view is 80 mm by 60 mm, the box 40 by 60: a shift by half of SHIFT in the box is one by SHIFT."""
    settings = replace(inputs.settings, spacing=(1.0, 2.0), extent="image")
    scaled = ModelInputCache(inputs.index, settings, 1e6)
    found = validated(scaled, shift(SHIFT / 2), shift(0.5 - SHIFT / 2))
    assert found.measures["dice"] == 1 and found.measures["tre_mm"] == pytest.approx(0, abs=1e-3)
    assert found.measures["inverse_error_mm"] == pytest.approx(1.0)
    torch.testing.assert_close(found.fixed, inputs["fixed"].values, rtol=0, atol=1e-5)


def test_what_is_missing_is_left_out_of_means() -> None:
    rows = torch.stack([row_of({"ncc": 0.5, "dice": 0.25}), row_of({"ncc": 1.0})])
    assert mean_measures(rows) == {"dice": 0.25, "ncc": 0.75}
    assert score({"ncc": 0.5, "dice": 0.25, "tre_mm": 3.0}) == ("dice", 0.25)
    assert score({"ncc": 0.5, "tre_mm": 3.0}) == ("tre_mm", -3.0)


def test_pairs_are_spread_over_the_split(shapes: Path) -> None:
    index = nephi.datasets.read_dataset_index(shapes)
    every = list(index.pairs("val"))
    assert chosen_pairs(index, 10) == every
    assert chosen_pairs(index, 2) == [every[0], every[1]] and len(chosen_pairs(index, 1)) == 1


def test_labels_that_do_not_match_are_named(inputs: ModelInputCache) -> None:
    with pytest.raises(DataError, match="expected label maps that share a label, found none"):
        other = nephi.read_image(inputs.index.path("moving_labels.nii.gz"))
        nephi.write_image(other.with_data(other.data // 2), inputs.index.path("moving_labels.nii.gz"))
        try:
            validated(inputs, shift(0))
        finally:
            nephi.write_image(other, inputs.index.path("moving_labels.nii.gz"))


def test_pictures(inputs: ModelInputCache) -> None:
    grid = input_grid(inputs.settings)
    height, width = ROOM[1], ROOM[0] + 2
    identity = panels(validated(inputs, shift(0)), grid)
    assert identity.shape == (3, height, 5 * width)
    fixed, moving, warped, lines, jacobian = (part[..., :-2] for part in identity.split(width, dim=-1))
    torch.testing.assert_close(moving, warped, atol=1e-4, rtol=0)
    assert float((fixed - warped).abs().max()) > 0.5
    assert torch.equal(fixed[0], inputs["fixed"].values[0].T.flip(0))
    assert float(lines.min()) < 0.2 and float(lines.max()) == 1
    assert bool((jacobian == 1).all())
    doubled = panels(validated(inputs, scale(2)), grid)[:, 2:-2, 4 * width + 2 : -6]
    assert bool((doubled[0] > 0.99).all()) and bool((doubled[1:] < 0.01).all())  # red
    mirrored = panels(validated(inputs, scale(-1)), grid)
    assert bool((mirrored[:, 2:-2, 4 * width + 2 : -6] == 0).all())
