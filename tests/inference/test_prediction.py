"""Predictions of models in the worlds of the images, their files, and their refinement by a fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.fields import DisplacementStep, nephi_bytes, read_nephi
from nephi.geometry import Grid
from nephi.images import Image
from nephi.inference import Refinement, plan_prediction, predict
from nephi.io import write_image
from nephi.models import model_bytes, read_model, to_model_input, world_transform, write_model
from nephi.objective import fused_objective
from nephi.settings import preset

from ..models.predictions import ARCHITECTURES, grid_around, model, pair, picture

TABLES = ("unet", "velocity", "gradicon")
FIELDS = [name for name in ARCHITECTURES if name not in TABLES]


def probes(grid: Grid, count: int = 200) -> Tensor:
    fractions = torch.rand(count, grid.dimension, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return grid.voxel_to_world_points(fractions * (torch.tensor(grid.shape) - 1))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_prediction_is_the_models_between_the_centres(name: str, dimension: int) -> None:
    stored, (fixed, moving) = model(name, dimension), pair(dimension)
    result = predict(fixed, moving, model=stored, device="cpu")
    assert result.history == [] and set(result.usage.stages) == {"prepare", "predict"}
    inputs = [to_model_input(image, None, stored.input) for image in (fixed, moving)]
    points = probes(fixed.grid)
    phi, inverse, _ = stored.model(*(each.values[None] for each in inputs))
    centres = [each.to_world[:-1, -1] for each in inputs]
    expected = phi((points - centres[0])[None].float())[0].double() + centres[1]
    # Tables are stored in half precision.
    torch.testing.assert_close(result.transform(points), expected, rtol=0, atol=3e-3)
    assert float((expected - points - centres[1] + centres[0]).norm(dim=-1).detach().mean()) > 0.5
    mapped = result.transform(points)
    assert float((result.inverse(mapped) - points).norm(dim=-1).max()) < 2e-3
    back = result.stored.unrefined_inverse
    if inverse is None:
        assert back is None
    else:
        expected = inverse((mapped - centres[1])[None].float())[0].double() + centres[0]
        torch.testing.assert_close(back(mapped), expected, rtol=0, atol=3e-3)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_file_holds_the_prediction(name: str, tmp_path: Path) -> None:
    stored, (fixed, moving) = model(name, 2), pair(2)
    result = predict(fixed, moving, model=stored, device="cpu")
    report = result.save(tmp_path / "result")
    back = read_nephi(tmp_path / "result" / "transform.nephi")
    points = probes(fixed.grid)
    assert torch.equal(back.transform(points), result.transform(points))
    assert torch.equal(back.inverse(points), result.inverse(points))
    assert len(back.steps) == len(getattr(ARCHITECTURES[name], "downsampling", (1,))) and nephi_bytes(
        back
    ) == nephi_bytes(result.stored)
    assert isinstance(back.steps[0], DisplacementStep) == (name in ("unet", "gradicon"))
    assert report["model"] == back.about["model"] and len(report["model"]) == 16
    assert report["refinement"] == {"steps": 0, "parameters": "all"}
    assert report["inverse_consistency_mm"] < 1e-3


def test_files_give_the_same_prediction(tmp_path: Path) -> None:
    stored, images = model("dense", 3), pair(3)
    expected = predict(*images, model=stored, device="cpu")
    for image in images:
        write_image(image, tmp_path / f"{image.name}.nii.gz")
    write_model(stored, tmp_path / "m.safetensors")
    paths = [tmp_path / f"{name}.nii.gz" for name in ("fixed", "moving")]
    found = predict(*paths, model=tmp_path / "m.safetensors", device="cpu")
    points = probes(images[0].grid)
    torch.testing.assert_close(found.transform(points), expected.transform(points), rtol=0, atol=1e-3)
    assert found.stored.about["model"] == expected.stored.about["model"]


def orientations(dimension: int) -> dict[str, Tensor]:
    """Voxel axes of images: along the world's, against them (LPS), mirrored (left-handed), oblique and anisotropic."""
    spacing = torch.tensor([2.4, 3.1, 2.8])[:dimension].double()
    straight = torch.diag(spacing)
    lps = torch.diag(torch.tensor([-1.0, -1.0, 1.0])[:dimension].double()) @ straight
    angle = torch.tensor(0.3, dtype=torch.float64)
    turn = torch.eye(dimension, dtype=torch.float64)
    turn[0, 0], turn[0, 1], turn[1, 0], turn[1, 1] = angle.cos(), -angle.sin(), angle.sin(), angle.cos()
    swapped = straight.flip(1)
    return {"RAS": straight, "LPS": lps, "left-handed": swapped, "oblique": turn @ torch.diag(spacing.flip(0))}


@pytest.mark.parametrize("name", ["dense", "unet"])
def test_the_same_anatomy_under_another_header_gives_the_same_transform(name: str, dimension: int) -> None:
    """Up to the interpolation of 3 mm voxels: half a millimetre at most, a tenth on average."""
    stored = model(name, dimension)
    centres = torch.tensor([120.0, -80.0, 45.0])[:dimension].double(), torch.tensor([-30.0, 15.0, 400.0])[:dimension]
    shape = (37, 36, 35)[:dimension]
    found: dict[str, Tensor] = {}
    for case, linear in orientations(dimension).items():
        images = [
            picture(grid_around(centre.double(), linear, shape), centre.double(), bend, case)
            for centre, bend in zip(centres, (0.0, 2.0), strict=True)
        ]
        result = predict(*images, model=stored, device="cpu")
        points = torch.linspace(-20, 20, 60, dtype=torch.float64).reshape(-1, 1) * torch.ones(dimension)
        found[case] = result.transform(points.double() + centres[0])
    for case, moved in found.items():
        gap = (moved - found["RAS"]).norm(dim=-1)
        assert float(gap.max()) < 0.5 and float(gap.mean()) < 0.1, case
    assert float((found["RAS"] - centres[1]).diff(dim=0).norm(dim=-1).std()) > 0.001  # no mere shift


def test_voxels_stored_in_another_order_change_nothing(dimension: int) -> None:
    """Flipped and permuted axes with the matching header: the same voxels in the same positions."""
    stored, images = model("dense", dimension), pair(dimension)
    points = probes(images[0].grid)
    expected = predict(*images, model=stored, device="cpu").transform(points)
    axes = list(reversed(range(dimension)))
    turned = []
    for image in images:
        swap = torch.eye(dimension + 1, dtype=torch.float64)[:, [*axes, dimension]]
        flip = torch.eye(dimension + 1, dtype=torch.float64)
        flip[0, 0], flip[0, -1] = -1, image.grid.shape[axes[0]] - 1
        data = image.data.permute(axes).flip(0).contiguous()
        turned.append(Image(data, Grid(tuple(data.shape), image.grid.affine @ swap @ flip), name=image.name))
    found = predict(*turned, model=stored, device="cpu").transform(points)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_the_centres_of_masks_are_aligned(dimension: int) -> None:
    stored, (fixed, moving) = model("dense", dimension, mask="given", centre="mask"), pair(dimension)
    masks = []
    for image, shift in ((fixed, 0.0), (moving, 6.0)):
        middle = image.grid.centre_world() + shift
        inside = (image.grid.voxel_centres().double() - middle).norm(dim=-1) < 15
        masks.append(image.with_data(inside.to(torch.uint8)))
    with pytest.raises(DataError, match="expected a mask for input"):
        predict(fixed, moving, model=stored, device="cpu")
    result = predict(fixed, moving, model=stored, fixed_mask=masks[0], moving_mask=masks[1], device="cpu")
    centres = [
        to_model_input(i, m, stored.input).to_world[:-1, -1] for i, m in zip((fixed, moving), masks, strict=True)
    ]
    torch.testing.assert_close(result.stored.affine.matrix[:-1, -1], centres[1] - centres[0])
    assert float((centres[1] - moving.grid.centre_world()).mean()) == pytest.approx(6.0, abs=1.0)


def test_masks_may_lie_on_grids_of_their_own(dimension: int) -> None:
    """As in a training: the model's input uses the mask as it is, the fit the nearest voxels of the mask."""
    stored, (fixed, moving) = model("dense", dimension, mask="given", centre="mask"), pair(dimension)
    masks = []
    for image, apart in ((fixed, 0.7), (moving, 2.3)):
        middle = image.grid.centre_world()
        grid = Grid.from_spacing((40,) * dimension, (apart,) * dimension, (middle - 20 * apart).tolist())
        inside = (grid.voxel_centres().double() - middle - 2).norm(dim=-1) < 12
        masks.append(Image(inside.to(torch.uint8), grid, name="mask"))
    result = predict(fixed, moving, model=stored, fixed_mask=masks[0], moving_mask=masks[1], device="cpu")
    centres = [
        to_model_input(i, m, stored.input).to_world[:-1, -1] for i, m in zip((fixed, moving), masks, strict=True)
    ]
    torch.testing.assert_close(result.stored.affine.matrix[:-1, -1], centres[1] - centres[0])
    fitted = result.pair.fixed_mask
    assert fitted is not None and fitted.grid.same_as(fixed.grid)
    away = (fixed.grid.voxel_centres().double() - fixed.grid.centre_world() - 2).norm(dim=-1)
    assert bool((fitted.data[away < 10] == 1).all()) and bool((fitted.data[away > 14] == 0).all())


@pytest.mark.parametrize("parameters", ["codes", "all"])
@pytest.mark.parametrize("name", FIELDS)
def test_refinement_improves_and_never_changes_the_model(name: str, parameters: str) -> None:
    stored, (fixed, moving) = model(name, 2), pair(2)
    settings = preset("generic")
    settings = replace(settings, objective=replace(settings.objective, icon=0.0, gradicon=0.0))
    weights, points = model_bytes(stored), probes(fixed.grid)
    before = predict(fixed, moving, model=stored, device="cpu")
    refined = predict(
        fixed, moving, model=stored, settings=settings, refinement=Refinement(40, parameters), device="cpu"
    )
    assert len(refined.history) == 40 and "fit" in refined.usage.stages
    loss_at_start, loss_at_end = (
        sum(row["similarity"] for row in rows) for rows in (refined.history[:8], refined.history[-8:])
    )
    assert loss_at_end < 0.9 * loss_at_start
    assert not torch.equal(refined.transform(points), before.transform(points))
    first = [step.pair for step in before.stored.steps]
    joined = name == "steps" and parameters == "all"
    assert len(refined.stored.steps) == (1 if joined else len(first))
    for step, other in zip(refined.stored.steps, first if not joined else (), strict=not joined):
        same = all(
            torch.equal(a, b)
            for (n, a), b in zip(step.pair.named_parameters(), other.parameters(), strict=True)
            if "decoder" in n
        )
        assert same == (parameters == "codes")
        assert not any(p.requires_grad for p in step.pair.parameters())
    # Another pair was refined: the answer for the first is the same, bit for bit.
    predict(moving, fixed, model=stored, settings=settings, refinement=Refinement(20, parameters), device="cpu")
    assert model_bytes(stored) == weights
    again = predict(fixed, moving, model=stored, device="cpu")
    assert nephi_bytes(again.stored) == nephi_bytes(before.stored)
    twice = predict(fixed, moving, model=stored, settings=settings, refinement=Refinement(40, parameters), device="cpu")
    assert nephi_bytes(twice.stored) == nephi_bytes(refined.stored)


@pytest.mark.parametrize("extent", ["fixed", "image"])
@pytest.mark.parametrize("name", ["steps", "unet", "velocity", "gradicon"])
def test_other_predictions_are_refined_as_one_field(name: str, extent: str) -> None:
    """The field equals the prediction at its finest nodes, and is linear between them; the model does not change."""
    stored, (fixed, moving) = model(name, 2, extent=extent), pair(2)
    weights = model_bytes(stored)
    settings = preset("generic")
    settings = replace(settings, optimization=replace(settings.optimization, rate=1e-9))
    points = probes(fixed.grid)
    before = predict(fixed, moving, model=stored, device="cpu").transform(points)
    refined = predict(fixed, moving, model=stored, settings=settings, refinement=Refinement(1), device="cpu")
    moved = float((before - points).norm(dim=-1).max())
    assert float((refined.transform(points) - before).norm(dim=-1).max()) < 0.1 * moved
    assert refined.stored.steps[0].grid.same_as(fixed.grid) and refined.stored.unrefined_inverse is not None
    back = refined.stored.unrefined_inverse(refined.transform(points))
    assert float((back - points).norm(dim=-1).max()) < 0.1 * moved
    further = predict(fixed, moving, model=stored, refinement=Refinement(40), device="cpu")
    first, last = (sum(row["similarity"] for row in rows) for rows in (further.history[:8], further.history[-8:]))
    assert last < 0.9 * first
    assert model_bytes(stored) == weights


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_field_of_view_is_scaled_to_the_box(name: str, dimension: int) -> None:
    """Images of any extent: phi(x) = T_moving(phi_box(T_fixed^-1 x)), and its inverse, in files as well."""
    stored, (fixed, moving) = model(name, dimension, extent="image"), pair(dimension)
    result = predict(fixed, moving, model=stored, device="cpu")
    inputs = [to_model_input(image, None, stored.input) for image in (fixed, moving)]
    maps = stored.model(*(each.values[None] for each in inputs))
    points = probes(fixed.grid)
    expected = world_transform(lambda x: maps.forward(x[None])[0].detach(), *inputs)(points)
    torch.testing.assert_close(result.transform(points), expected, rtol=0, atol=3e-3)
    corners = result.stored.affine(fixed.grid.corners_world())
    torch.testing.assert_close(corners, moving.grid.corners_world(), rtol=0, atol=2.0)
    displaced = result.transform(points)
    assert float((result.inverse(displaced) - points).norm(dim=-1).max()) < 2e-3
    if maps.inverse is not None and result.stored.unrefined_inverse is not None:
        back = world_transform(lambda x: maps.inverse(x[None])[0].detach(), *inputs[::-1])(displaced)
        torch.testing.assert_close(result.stored.unrefined_inverse(displaced), back, rtol=0, atol=3e-3)


def test_codes_are_refined_between_affine_steps() -> None:
    """Where the field of view is scaled, fields stay in the model's box."""
    stored, (fixed, moving) = model("dense", 2, extent="image"), pair(2)
    result = predict(fixed, moving, model=stored, refinement=Refinement(40, "codes"), device="cpu")
    assert [step.kind for step in result.stored.steps] == ["affine", "fields", "affine"]
    first, last = (sum(row["similarity"] for row in rows) for rows in (result.history[:8], result.history[-8:]))
    assert last < 0.95 * first


def test_dense_fields_are_refined_by_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    from nephi import kernels
    from nephi.optimize import fit

    if not kernels.available():
        pytest.skip("nephi was installed without compiled kernels")
    used: list[bool] = []

    def watched(*arguments: object) -> object:
        found = fused_objective(*arguments)
        used.append(found is not None)
        return found

    monkeypatch.setattr(fit, "fused_objective", watched)
    monkeypatch.setattr(fit, "add_gradient", lambda *_: pytest.fail("autograd was used"))
    images = pair(3)
    for parameters in ("codes", "all"):
        predict(*images, model=model("dense", 3), refinement=Refinement(4, parameters), device="cpu")
    assert used == [True, True]


def test_a_report_states_the_refinement(tmp_path: Path) -> None:
    result = predict(*pair(2), model=model("steps", 2), refinement=Refinement(10, "codes"), device="cpu", seed=3)
    report = result.save(tmp_path)
    assert report["refinement"] == {"steps": 10, "parameters": "codes"} and report["seed"] == 3
    assert sum(level["steps"] for level in report["settings"]["levels"]) == 10
    assert report["settings"]["affine"]["kind"] == "none"
    assert report["usage"]["affine_and_fit_cpu_s"] > 0


def test_without_settings_window_and_mask_are_those_of_the_model() -> None:
    stored = model("dense", 2, window=(100.0, 700.0), mask="foreground")
    result = predict(*pair(2), model=stored, device="cpu")
    assert result.pair.fixed_window == (100.0, 700.0) and result.pair.fixed_mask is not None
    assert result.settings.field == stored.settings.field
    other = predict(*pair(2), model=stored, preset="ct", device="cpu")
    assert other.settings.image == preset("ct").image


def test_invalid_arguments_are_refused(tmp_path: Path) -> None:
    fixed, moving = pair(2)
    with pytest.raises(UsageError, match="refine: expected 0 steps or more, got -1"):
        Refinement(-1)
    with pytest.raises(UsageError, match="refine_parameters: expected one of codes, all, network, got 'some'"):
        Refinement(3, "some")
    with pytest.raises(
        UsageError, match='refine_parameters: expected "all" or "network" for a model that predicts no latent values'
    ):
        predict(fixed, moving, model=model("unet", 2), refinement=Refinement(3, "codes"))
    with pytest.raises(UsageError, match=r"refine: expected settings whose field can represent .*got coordinates with"):
        predict(fixed, moving, model=model("unet", 2), preset="idir", refinement=Refinement(3))
    with pytest.raises(UsageError, match='transform: expected "deformable" for a prediction, got "rigid"'):
        predict(fixed, moving, model=model("dense", 2), settings=replace(preset("generic"), transform="rigid"))
    with pytest.raises(DataError, match=r"fixed: expected a 3-D image, the dimension of the model"):
        predict(fixed, moving, model=model("dense", 3), device="cpu")
    with pytest.raises(DataError, match=r"none\.safetensors: no such file"):
        predict(fixed, moving, model=tmp_path / "none.safetensors")
    write_image(fixed, tmp_path / "image.nii.gz")
    with pytest.raises(DataError, match=r"image\.nii\.gz: not a model"):
        read_model(tmp_path / "image.nii.gz")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_plan_is_what_happens(name: str) -> None:
    stored, images = model(name, 2), pair(2)
    refinement = Refinement(30)
    plan = plan_prediction(*images, model=stored, refinement=refinement, device="cpu")
    done = predict(*images, model=stored, refinement=refinement, device="cpu")
    assert plan.settings == done.settings and plan.device == "cpu"
    assert plan.parameters == sum(step.parameters for step in done.stored.steps)
    assert sum(level.settings.steps for level in plan.levels) == len(done.history)
    assert (plan.fixed.grid, plan.moving.name) == (images[0].grid, "moving")
    with pytest.raises(DataError, match="fixed: expected a 2-D image"):
        plan_prediction(*pair(3), model=stored, device="cpu")


def test_convolutions_of_a_prediction_are_those_of_training() -> None:
    """Without gradients another kernel computes them."""
    stored = model("dense", 3)
    images = [torch.rand(2, 1, *stored.input.shape, generator=torch.Generator().manual_seed(k)) for k in range(2)]
    points = 10 * torch.rand(2, 5, 3)
    expected = stored.model(*images).forward(points)
    with torch.no_grad():
        found = stored.model(*images).forward(points)
    assert expected.requires_grad and not found.requires_grad
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["dense", "unet"])
def test_a_prediction_that_overflows_is_refused(name: str) -> None:
    """Finite weights can be too large for float32 in the network."""
    stored = model(name, 2)
    with torch.no_grad():
        for parameter in stored.model.parameters():
            parameter.fill_(3e38)
    with pytest.raises(DataError, match=r"^fixed and moving: .* NaN or infinite values; train the model again$"):
        predict(*pair(2), model=stored)


@pytest.mark.parametrize("name", ["unet", "velocity"])
def test_a_prediction_far_away_from_the_images_is_refused(name: str) -> None:
    """Its numbers are finite, and its displacement field could not be stored."""
    stored = model(name, 2)
    with torch.no_grad():
        for parameter in stored.model.parameters():
            parameter *= 1e4
    with pytest.raises(DataError, match=r"^fixed and moving: expected a prediction that maps .*; train the model agai"):
        predict(*pair(2), model=stored)
