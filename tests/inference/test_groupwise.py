"""Groupwise registration: mean keypoints of known sets, images at known places, files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import nephi
from nephi.errors import DataError, UsageError
from nephi.fields import read_nephi
from nephi.inference import groupwise_files, register_group, save_group
from nephi.inference.groupwise import mean_keypoints
from nephi.inference.groupwise_files import folder_names
from nephi.models import InputSettings, KeyMorphSettings, Keypoints, StoredModel, build_model, input_grid
from nephi.phantoms import silhouettes
from nephi.settings import TrainingObjectiveSettings

BOX = InputSettings((24, 20), (1.0, 1.5), window=(0.0, 1.0))
OFFSETS = ((0.0, 0.0), (30.0, -12.0), (-5.0, 70.0))


@pytest.fixture(scope="module")
def model() -> StoredModel:
    settings = KeyMorphSettings(keypoints=8, filters=(4, 8), align="affine")
    network = build_model(settings, input_grid(BOX), torch.Generator().manual_seed(0)).eval()
    return StoredModel(network, BOX, TrainingObjectiveSettings(gradicon=0.0, codes=0.0))


def rotated(points: Tensor, degrees: float, shift: float) -> Tensor:
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    matrix = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    return points @ matrix.T + shift


def keypoint_sets(points: Tensor) -> list[Keypoints]:
    weights = torch.ones(points.shape[:1], dtype=torch.float64)
    return [Keypoints(rotated(points, 40.0 * k, 3.0 * k)[None], weights[None]) for k in range(4)]


def test_congruent_keypoints_coincide_in_the_common_frame(model: StoredModel) -> None:
    points = 10 * torch.randn(8, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sets = keypoint_sets(points)
    mean, (before, after) = mean_keypoints(model.model, sets, "similarity", 5)
    assert min(before) > 1 and max(after) < 1e-6
    shape, original = torch.pdist(mean.points[0]), torch.pdist(points)
    torch.testing.assert_close(shape / shape[0], original / original[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("align", ["similarity", "affine", "halfway"])
def test_the_common_frame_has_the_mean_size_of_the_images(model: StoredModel, align: str) -> None:
    """Means of rotated or noisy keypoints are smaller; an image of four times the size counts as one of a quarter."""
    generator = torch.Generator().manual_seed(3)
    points = 10 * torch.randn(30, 2, generator=generator, dtype=torch.float64)
    congruent = keypoint_sets(points)
    scaled = [
        each._replace(points=factor * each.points) for each, factor in zip(congruent, (1, 4, 0.25, 1), strict=True)
    ]
    noisy = [
        each._replace(points=points + 1.5 * torch.randn(1, 30, 2, generator=generator, dtype=torch.float64))
        for each in congruent
    ]
    for sets, tolerance in ((congruent, 1e-6), (scaled, 0.02), (noisy, 0.04)):
        mean, _ = mean_keypoints(model.model, sets, align, 5)
        size = (mean.points - mean.points.mean(dim=1)).norm() / (points - points.mean(dim=0)).norm()
        assert float(size) == pytest.approx(1, abs=tolerance)


@pytest.mark.parametrize("align", ["rigid", "affine", "tps:0"])
def test_images_turned_by_opposite_angles_are_registered(model: StoredModel, align: str) -> None:
    """Their plain mean is a single point. In slightly turned images the frame has the mean orientation and place."""
    points = 10 * torch.randn(8, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    weights = torch.ones(1, 8, dtype=torch.float64)
    for angles in ((0.0, 180.0), (10.0, 100.0, 190.0, 280.0)):
        sets = [Keypoints(rotated(points, angle, angle)[None], weights) for angle in angles]
        mean, (_, after) = mean_keypoints(model.model, sets, align, 5)
        assert max(after) < 1e-6
        torch.testing.assert_close(torch.pdist(mean.points[0]), torch.pdist(points), rtol=1e-6, atol=1e-6)
    sets = [Keypoints(rotated(points, angle, angle)[None], weights) for angle in (-10.0, 20.0)]
    mean, _ = mean_keypoints(model.model, sets, align, 0)
    torch.testing.assert_close(
        mean.points[0] - mean.points[0].mean(dim=0), rotated(points - points.mean(dim=0), 5.0, 0.0)
    )
    torch.testing.assert_close(mean.points[0].mean(dim=0), torch.stack([s.points[0] for s in sets]).mean(dim=(0, 1)))


def test_keypoints_without_weight_do_not_count(model: StoredModel) -> None:
    points = 10 * torch.randn(8, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    sets = keypoint_sets(points)
    expected, _ = mean_keypoints(model.model, sets, "rigid", 3)
    sets[1].points[0, 5] = 1e3
    for each in sets:
        each.weights[0, 5] = 0.0
    mean, (_, after) = mean_keypoints(model.model, sets, "rigid", 3)
    kept = [k for k in range(8) if k != 5]
    shape = torch.pdist(mean.points[0, kept])
    assert max(after) < torch.pdist(expected.points[0]).max() and bool(mean.weights[0, 5] == 0)
    sets[1].points[0, 5] = -4e3
    again, _ = mean_keypoints(model.model, sets, "rigid", 3)
    torch.testing.assert_close(torch.pdist(again.points[0, kept]), shape)


def test_the_same_image_in_several_places(model: StoredModel, tmp_path: Path) -> None:
    """The common frame lies at the mean place; warped images are equal, and so is their mean."""
    picture = silhouettes(1, torch.Generator().manual_seed(3), 24)[0][0]
    paths = []
    for number, offset in enumerate(OFFSETS):
        paths.append(tmp_path / str(number) / "shape.nii.gz")
        paths[-1].parent.mkdir()
        nephi.write_image(nephi.Image(picture, nephi.Grid.from_spacing((24, 24), (1.0, 1.0), offset)), paths[-1])
    group = register_group(paths, model=model, device="cpu")
    offsets = torch.tensor(OFFSETS, dtype=torch.float64)
    points = group.grid.voxel_centres().reshape(-1, 2).double()
    for transform, offset in zip(group.transforms, offsets, strict=True):
        torch.testing.assert_close(
            transform.transform(points), points + offset - offsets.mean(dim=0), atol=1e-3, rtol=0
        )
    assert max(group.distances) < 1e-3
    summary = json.loads(save_group(group, tmp_path / "out").read_text(encoding="utf-8"))
    assert [row["folder"] for row in summary["images"]] == ["shape", "shape-2", "shape-3"]
    mean = nephi.read_image(tmp_path / "out" / "mean.nii.gz").data
    for row in summary["images"]:
        warped = nephi.read_image(tmp_path / "out" / row["folder"] / "warped.nii.gz")
        assert warped.grid.same_as(group.grid)
        torch.testing.assert_close(warped.data, mean, atol=2e-3, rtol=0)
        stored = read_nephi(tmp_path / "out" / row["folder"] / "transform.nephi")
        assert stored.about["align"] == "affine"


def test_masks_are_those_of_the_input(model: StoredModel, tmp_path: Path) -> None:
    """What lies outside of the masks has no influence; a mask has any grid, and belongs to its image."""
    settings = replace(BOX, mask="given", outside_mask="dark", centre="mask", smoothing="none")
    masked = StoredModel(model.model, settings, model.objective)
    picture = silhouettes(1, torch.Generator().manual_seed(3), 24)[0][0]
    paths, masks = [tmp_path / "a.nii", tmp_path / "b.nii"], [tmp_path / "a-mask.nii", tmp_path / "b-mask.nii"]
    inside = torch.zeros(24, 24, dtype=torch.uint8)
    inside[3:20, 4:21] = 1
    for number, (path, mask) in enumerate(zip(paths, masks, strict=True)):
        grid = nephi.Grid.from_spacing((24, 24), (1.0, 1.0), (40.0 * number, 0.0))
        other = torch.rand(24, 24, generator=torch.Generator().manual_seed(number), dtype=torch.float32)
        nephi.write_image(nephi.Image(torch.where(inside > 0, picture, other), grid), path)
        whole = (slice(None), slice(None)) if number else (slice(0, 22), slice(2, 24))  # a grid of its own
        origin = (40.0 * number, 0.0) if number else (0.0, 2.0)
        part = nephi.Grid.from_spacing(tuple(inside[whole].shape), (1.0, 1.0), origin)
        nephi.write_image(nephi.Image(inside[whole], part), mask)
    group = register_group(paths, model=masked, masks=masks, device="cpu")
    points = group.grid.voxel_centres().reshape(-1, 2).double()
    first, second = (each.transform(points) for each in group.transforms)
    torch.testing.assert_close(second - first, torch.tensor([40.0, 0.0]).double().expand_as(first), atol=1e-3, rtol=0)
    summary = json.loads(save_group(group, tmp_path / "out").read_text(encoding="utf-8"))
    assert [row["mask"] for row in summary["images"]] == [str(mask) for mask in masks]
    with pytest.raises(UsageError, match=r"^masks: expected one for each image for a model with .*, got none$"):
        register_group(paths, model=masked, device="cpu")
    with pytest.raises(DataError, match=r"expected a mask on the grid of .*"):
        register_group(paths, model=masked, masks=masks[::-1], device="cpu")


def test_files_appear_together_or_not_at_all(
    model: StoredModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = silhouettes(2, torch.Generator().manual_seed(3), 24)[0]
    paths = [tmp_path / "a.nii", tmp_path / "b.nii"]
    for picture, path in zip(pictures, paths, strict=True):
        nephi.write_image(nephi.Image(picture, nephi.Grid.from_spacing((24, 24), (1.0, 1.0))), path)
    group = register_group(paths, model=model, device="cpu")
    out = tmp_path / "out"

    def fail(image: nephi.Image, path: Path) -> None:
        if path.name == "mean.nii.gz":
            raise DataError(f"{path}: could not be written (No space left on device)")
        nephi.write_image(image, path)

    with monkeypatch.context() as patch:
        patch.setattr(groupwise_files, "write_image", fail)
        with pytest.raises(DataError, match=f"^{out}/mean.nii.gz: could not be written"):
            save_group(group, out)
    assert not out.exists() and sorted(tmp_path.iterdir()) == paths
    save_group(group, out)
    files = {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    (out / "a" / "note.txt").write_text("kept")
    (out / "mean.nii.gz").write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(groupwise_files, "write_image", fail)
        with pytest.raises(DataError, match="could not be written"):
            save_group(group, out, overwrite=True)
    assert (out / "mean.nii.gz").read_text(encoding="utf-8") == "old"
    save_group(group, out, overwrite=True)
    assert {path: path.read_bytes() for path in files} == files
    assert len([path for path in out.rglob("*") if path.is_file()]) == len(files) + 1 == 7


def test_equal_names_get_numbers() -> None:
    paths = [Path(name) for name in ("a/x.nii.gz", "b/X.mha", "x-2.nii", "c/x.nrrd", "y.nii")]
    names = folder_names(paths)
    assert names[0] == "x" and names[-1] == "y" and len({name.casefold() for name in names}) == len(names)
