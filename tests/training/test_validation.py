"""Measures of pairs, against deformations that are known, and their pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import nephi
from nephi.errors import DataError
from nephi.models import FrameSettings, System, frame_grid
from nephi.phantoms import silhouettes
from nephi.training.cache import SeenImages
from nephi.training.pictures import panels
from nephi.training.validation import ValidatedPair, chosen_pairs, mean_measures, row_of, score, validate_pair
from nephi.transforms import MapPair

SHIFT = 4.0  # mm along the first axis, from fixed to moving
ROOM = (40, 30)


class Known(System):
    """Predicts what it is told to, whatever it sees."""

    def __init__(self, phi: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.phi = phi

    def forward(self, *_: object) -> MapPair:  # type: ignore[override]
        return MapPair(self.phi)  # type: ignore[arg-type] # only its values are measured

    def terms(self, *_: object) -> dict[str, Tensor]:
        return {}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> SeenImages:
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
    return SeenImages(index, FrameSettings(ROOM, (2.0, 2.0), window=(0.0, 1.0)), 1e6)


def validated(seen: SeenImages, phi: Callable[[Tensor], Tensor]) -> ValidatedPair:
    (pair,) = chosen_pairs(seen.index, 5)
    return validate_pair(Known(phi), pair, seen, torch.device("cpu"))


def test_the_true_deformation_is_perfect(seen: SeenImages) -> None:
    measures = validated(seen, lambda points: points + torch.tensor([SHIFT, 0.0])).measures
    assert measures["dice"] == 1 and 0.5 < measures["dice_before"] < 0.95
    assert measures["tre_mm"] == pytest.approx(0, abs=1e-3) and measures["tre_before_mm"] == pytest.approx(SHIFT)
    assert measures["ncc"] == pytest.approx(1, abs=1e-4) and measures["ncc_before"] < 0.95
    assert measures["folds_percent"] == 0


def test_a_mirror_folds_everywhere(seen: SeenImages) -> None:
    assert validated(seen, lambda points: points * torch.tensor([-1.0, 1.0])).measures["folds_percent"] == 100


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


def test_labels_that_do_not_match_are_named(seen: SeenImages) -> None:
    with pytest.raises(DataError, match="expected label maps that share a label, found none"):
        other = nephi.read_image(seen.index.path("moving_labels.nii.gz"))
        nephi.write_image(other.with_data(other.data // 2), seen.index.path("moving_labels.nii.gz"))
        try:
            validated(seen, lambda points: points)
        finally:
            nephi.write_image(other, seen.index.path("moving_labels.nii.gz"))


def test_pictures(seen: SeenImages) -> None:
    grid = frame_grid(seen.frame)
    height, width = ROOM[1], ROOM[0] + 2
    identity = panels(validated(seen, lambda points: points), grid)
    assert identity.shape == (3, height, 5 * width)
    fixed, moving, warped, lines, jacobian = (part[..., :-2] for part in identity.split(width, dim=-1))
    torch.testing.assert_close(moving, warped, atol=1e-4, rtol=0)
    assert float((fixed - warped).abs().max()) > 0.5
    assert torch.equal(fixed[0], seen["fixed"].values[0].T.flip(0))
    assert float(lines.min()) < 0.2 and float(lines.max()) == 1
    assert bool((jacobian == 1).all())
    doubled = panels(validated(seen, lambda points: points * torch.tensor([2.0, 1.0])), grid)[
        :, 2:-2, 4 * width + 2 : -6
    ]
    assert bool((doubled[0] > 0.99).all()) and bool((doubled[1:] < 0.01).all())  # red
    mirrored = panels(validated(seen, lambda points: points * torch.tensor([-1.0, 1.0])), grid)
    assert bool((mirrored[:, 2:-2, 4 * width + 2 : -6] == 0).all())
