"""Removal of folds from fitted fields."""

import pytest
import torch

from nephi.fields import FieldSettings, NeuralField, build_fields
from nephi.geometry import Grid, determinant
from nephi.images import Image
from nephi.optimize import remove_folds as module
from nephi.optimize.remove_folds import remove_folds


@pytest.fixture
def image() -> Image:
    return Image(torch.zeros(40, 36, dtype=torch.uint8), Grid((40, 36), torch.eye(3, dtype=torch.float64)))


def bent(image: Image, amount: float) -> NeuralField:
    """A field of random latent features; larger `amount`s bend it more."""
    generator = torch.Generator().manual_seed(0)
    field = build_fields(FieldSettings(spacings=(20.0, 6.0), channels=4, hidden=8), image.grid, generator).forward_field
    with torch.no_grad():
        for parameter in field.parameters():
            parameter += amount * torch.randn(parameter.shape, generator=generator)
    return field


def determinants(field: NeuralField, image: Image) -> torch.Tensor:
    with torch.no_grad():
        return determinant(field.value_and_jacobian(image.grid.voxel_centres())[1])


@pytest.mark.parametrize("masked", [False, True])
def test_no_voxel_of_the_mask_folds_afterwards(masked: bool, image: Image) -> None:
    field = bent(image, 0.36)
    mask = image.with_data(torch.zeros_like(image.data)) if masked else None
    if mask is not None:
        mask.data[:30, :30] = 1
    before = determinants(field, image)
    inside = torch.ones_like(before, dtype=torch.bool) if mask is None else mask.data > 0
    with torch.no_grad():
        values = field(image.grid.voxel_centres())
    remove_folds(field, image, mask, torch.Generator().manual_seed(0))
    assert int((before[inside] <= 0).sum()) > 0
    assert float(determinants(field, image)[inside].min()) > 0
    with torch.no_grad():
        change = (field(image.grid.voxel_centres()) - values).norm(dim=-1)
    assert float(change.median()) < 0.2 and float(change.max()) < 2, "voxels without folds hardly move"


def test_field_without_folds_is_unchanged(image: Image) -> None:
    field = bent(image, 0.05)
    before = [parameter.clone() for parameter in field.parameters()]
    assert float(determinants(field, image).min()) > 0.3
    remove_folds(field, image, None, torch.Generator())
    assert all(torch.equal(a, b) for a, b in zip(before, field.parameters(), strict=True))


def test_mask_may_have_another_grid(image: Image) -> None:
    """Segmented lungs have a grid of their own."""
    field = bent(image, 0.36)
    coarse = torch.tensor([[4.0, 0.0, 1.5], [0.0, 3.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    mask = Image(torch.ones(10, 12, dtype=torch.uint8), Grid((10, 12), coarse))
    remove_folds(field, image, mask, torch.Generator().manual_seed(0))
    assert float(determinants(field, image).min()) > 0


def test_field_without_local_features_is_unchanged(image: Image) -> None:
    settings = FieldSettings(encoding="fourier", decoder="siren", layers=2, hidden=16)
    field = build_fields(settings, image.grid, torch.Generator().manual_seed(0)).forward_field
    with torch.no_grad():
        for parameter in field.parameters():
            parameter *= 8
            parameter += 0.5 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    before = [parameter.clone() for parameter in field.parameters()]
    assert float(determinants(field, image).min()) < 0
    remove_folds(field, image, None, torch.Generator())
    assert all(torch.equal(a, b) for a, b in zip(before, field.parameters(), strict=True))


def test_voxels_at_regular_intervals_of_a_huge_image_are_checked(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_RISK", 100.0)
    monkeypatch.setattr(Grid, "slabs", lambda grid: [(0, 7), (7, 22), (22, 36)])
    for most, every in ((10**6, 1), (360, 2), (160, 3)):
        monkeypatch.setattr(module, "MAX_VOXELS", most)
        expected = image.grid.voxel_centres()[::every, ::every].reshape(-1, 2)
        centres = module._voxels_at_risk(bent(image, 0.05), image, image.with_data(image.data + 1))
        assert {tuple(p) for p in centres.tolist()} == {tuple(p) for p in expected.tolist()}
        assert len(centres) == len(expected)
