"""Several registrations from the same keypoints: the maps of the model, their asymmetry, and the keypoints reported."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import nephi
from nephi.errors import DataError, UsageError
from nephi.inference import check_align, predict_alignments, register_group
from nephi.models import (
    DisplacementUNetSettings,
    InputSettings,
    KeyMorphSettings,
    ModelSettings,
    StoredModel,
    build_model,
    input_grid,
    to_model_input,
    world_transform,
)
from nephi.phantoms import silhouettes
from nephi.settings import TrainingObjectiveSettings

pytestmark = pytest.mark.filterwarnings("ignore:transform. expected folding")  # splines of untrained keypoints
NAMES = ("rigid", "affine", "halfway", "tps:0.1", "tps:0")
BOX = InputSettings((24, 20), (1.0, 1.5), window=(0.0, 1.0))
ROTATED = torch.tensor([[0.0, -1.0, 40.0], [1.5, 0.0, -7.0], [0.0, 0.0, 1.0]], dtype=torch.float64)


def stored(settings: ModelSettings) -> StoredModel:
    model = build_model(settings, input_grid(BOX), torch.Generator().manual_seed(0)).eval()
    return StoredModel(model, BOX, TrainingObjectiveSettings(gradicon=0.0, codes=0.0))


@pytest.fixture(scope="module")
def model() -> StoredModel:
    return stored(KeyMorphSettings(keypoints=8, filters=(4, 8)))


@pytest.fixture(scope="module")
def images() -> tuple[nephi.Image, nephi.Image]:
    """Two shapes on different oblique grids."""
    pictures, _ = silhouettes(2, torch.Generator().manual_seed(3), 24)
    straight = torch.diag(torch.tensor([1.0, 1.2, 1.0], dtype=torch.float64))
    grids = [nephi.Grid((24, 24), affine) for affine in (straight, ROTATED)]
    fixed, moving = (nephi.Image(picture, grid) for picture, grid in zip(pictures, grids, strict=True))
    return fixed, moving


def test_every_result_is_the_map_of_the_model(model: StoredModel, images: tuple[nephi.Image, nephi.Image]) -> None:
    results = predict_alignments(*images, NAMES, model=model, device="cpu")
    assert list(results) == list(NAMES)
    inputs = [to_model_input(image, None, BOX) for image in images]
    with torch.no_grad():
        maps = model.model.alignments(*(each.values[None] for each in inputs), NAMES)
    points = images[0].grid.voxel_centres()[::5, ::5].reshape(-1, 2).double()
    for name, result in results.items():
        expected = world_transform(lambda x, n=name: maps[n].forward(x[None].float())[0].double(), *inputs)(points)
        torch.testing.assert_close(result.transform(points), expected, atol=1e-4, rtol=0)
        if not name.startswith("tps"):  # which fold here
            torch.testing.assert_close(result.inverse(result.transform(points)), points, atol=1e-3, rtol=0)
        assert result.stored.about["align"] == name and result.stored.about["aligned"] == list(NAMES)


def test_the_asymmetry_is_that_of_exchanged_images(model: StoredModel, images: tuple[nephi.Image, nephi.Image]) -> None:
    forward = predict_alignments(*images, NAMES, model=model, device="cpu")
    backward = predict_alignments(images[1], images[0], NAMES, model=model, device="cpu")
    reported = forward["rigid"].stored.about["asymmetry_mm"]
    points = input_grid(BOX).transformed(to_model_input(images[0], None, BOX).to_world).voxel_centres().reshape(-1, 2)
    for name in NAMES:
        moved = (backward[name].transform(forward[name].transform(points)) - points).norm(dim=-1).mean()
        assert reported[name] == pytest.approx(float(moved), abs=1e-4, rel=1e-4)
    assert reported["rigid"] < 1e-5 and reported["halfway"] < 1e-5 < 0.1 < reported["affine"]


def test_keypoints_are_reported_in_the_worlds_of_the_images(
    model: StoredModel, images: tuple[nephi.Image, nephi.Image]
) -> None:
    """An interpolating spline maps fixed to moving keypoints."""
    result = predict_alignments(*images, ["tps:0"], model=model, device="cpu")["tps:0"]
    table = {name: torch.tensor(v, dtype=torch.float64) for name, v in result.stored.about["keypoints"].items()}
    assert table["fixed"].shape == table["moving"].shape == (8, 2) and float(table["weights"].max()) == 1
    torch.testing.assert_close(result.transform(table["fixed"]), table["moving"], atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "align: expected at least one alignment, got none"),
        (("rigid", "elastic"), "align: expected rigid, similarity, affine, halfway, or tps: and a number"),
        (("rigid", "rigid"), "align: expected different alignments, got rigid,rigid"),
    ],
)
def test_unusable_alignments_are_named(model: StoredModel, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_align(model, names)
    assert str(caught.value).startswith(message)


def test_models_without_keypoints_are_named() -> None:
    unet = stored(DisplacementUNetSettings((4, 8)))
    with pytest.raises(UsageError, match='align: expected a model with keypoints, got kind = "unet"'):
        check_align(unet, ["rigid"])


def test_a_model_that_finds_no_keypoint_is_refused(images: tuple[nephi.Image, nephi.Image], tmp_path: Path) -> None:
    """Heat maps of 0 have their keypoints in the middle: the result would be a translation, whatever the images."""
    blind = stored(KeyMorphSettings(keypoints=8, filters=(4, 8)))
    with torch.no_grad():
        for parameter in blind.model.parameters():
            parameter.zero_()
    message = r"expected keypoints in common, the model found none; train the model again"
    with pytest.raises(DataError, match=message):
        nephi.predict(*images, model=blind)
    with pytest.raises(DataError, match=message):
        predict_alignments(*images, ["rigid"], model=blind)
    paths = [tmp_path / "a.nii", tmp_path / "b.nii"]
    for image, path in zip(images, paths, strict=True):
        nephi.write_image(image, path)
    with pytest.raises(DataError, match=r"a.nii: expected keypoints, the model found none"):
        register_group(paths, model=blind)
