"""`.nephi` files: round trips, and the kinds of steps they hold."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nephi.errors import DataError
from nephi.fields import AffineStep, DisplacementStep, FieldStep, StoredTransform, nephi_bytes, read_nephi
from nephi.fields.steps.fields import least_size
from nephi.fields.storage import FILE
from nephi.geometry import Grid, Plane
from nephi.transforms import AffineTransform, ContinuedDisplacement

from .nephi_files import edit, put, spoil

KINDS: dict[str, dict[str, Any]] = {
    "dense silu": {},
    "hash gated, codes": {"encoding": "hash", "decoder": "gated-sine", "global_codes": 2, "local_codes": 3},
    "fourier siren, edge": {"encoding": "fourier", "decoder": "siren", "amplitude_unit": "edge"},
    "coordinates, no inverse": {"encoding": "coordinates", "inverse": False, "local_codes": 1},
}


def assert_same(one: StoredTransform, other: StoredTransform, points: torch.Tensor) -> None:
    """Compare values and Jacobians of both transforms and inverses bit by bit."""
    for a, b in ((one.transform, other.transform), (one.inverse, other.inverse)):
        for x, y in zip(a.value_and_jacobian(points), b.value_and_jacobian(points), strict=True):
            assert torch.equal(x, y)


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(grid, make_stored, points_in, tmp_path, kind) -> None:
    stored = make_stored(grid, **KINDS[kind])
    data = nephi_bytes(stored)
    assert data == nephi_bytes(stored)
    (tmp_path / "pair.nephi").write_bytes(data)
    back = read_nephi(tmp_path / "pair.nephi")
    assert_same(back, stored, points_in(grid, 40, margin=1.0))
    assert torch.equal(back.affine.matrix, stored.affine.matrix)
    for one, other in ((back.fixed_grid, grid), (back.moving_grid, stored.moving_grid)):
        assert one.shape == other.shape and torch.equal(one.affine, other.affine)
    assert [s.settings for s in back.steps] == [s.settings for s in stored.steps]
    assert (back.settings, back.about) == (stored.settings, stored.about)
    assert nephi_bytes(back) == data
    assert not any(p.requires_grad for p in back.steps[0].pair.parameters())


def test_affine_alone(grids, points_in, tmp_path) -> None:
    matrix = torch.diag(torch.tensor([1.1, 0.9, 1.0, 1.0]))
    stored = StoredTransform(AffineTransform(matrix), grids[3], grids[3])
    (tmp_path / "affine.nephi").write_bytes(nephi_bytes(stored))
    back = read_nephi(tmp_path / "affine.nephi")
    assert back.steps == ()
    assert_same(back, stored, points_in(grids[3]))


@pytest.mark.parametrize("plane", [Plane(81.5, -4.0), Plane(-3.25), None])
def test_the_plane_of_slices(grids, tmp_path, plane) -> None:
    grid = replace(grids[2], plane=plane)
    written = StoredTransform(AffineTransform.identity(2), grid, grid, (), {}, {})
    (tmp_path / "a.nephi").write_bytes(nephi_bytes(written))
    back = read_nephi(tmp_path / "a.nephi")
    assert (back.fixed_grid.plane, back.moving_grid.plane) == (plane, plane)


def test_transform_is_the_field_and_then_the_affine(stored, points_in) -> None:
    points = points_in(stored.fixed_grid)
    assert torch.equal(stored.transform(points), stored.affine(stored.steps[0].pair.forward_field(points)))
    assert torch.equal(
        stored.unrefined_inverse(points), stored.steps[0].pair.inverse_field(stored.affine.inverse()(points))
    )


def test_a_file_of_version_1_is_unchanged(tmp_path) -> None:
    """Written by nephi 0.1.0: the same values, and the same bytes except for the checksum."""
    path = Path(__file__).with_name("version1.nephi")
    stored = read_nephi(path)
    points = torch.tensor([[-28.0, 45.0], [-25.5, 40.25], [0.0, 0.0]], dtype=torch.float64)
    mapped = [[-22.180817834536235, 41.091886043548584], [-20.266782967249554, 36.559956789016724]]
    back = [[-34.24512585004171, 49.049312591552734], [-30.587112530072528, 43.396470069885254]]
    for transform, expected in ((stored.transform, mapped), (stored.inverse, back)):
        torch.testing.assert_close(transform(points)[:2], torch.tensor(expected).double(), rtol=0, atol=2e-6)
    again = tmp_path / "again.nephi"
    again.write_bytes(nephi_bytes(stored))
    edit(again, lambda header, tensors: None)
    assert again.read_bytes() == path.read_bytes()


def test_a_file_of_version_2_is_unchanged() -> None:
    """Fields and a displacement, each on its own grid, written before there were affine steps."""
    path = Path(__file__).with_name("version2.nephi")
    stored = read_nephi(path)
    points = torch.tensor([[0.0, 0.0], [-22.5, 31.25]], dtype=torch.float64)
    forward = [[4.8027802661630545, -2.9816967564833075], [-18.51901693893429, 28.026086689894747]]
    back = [[-4.749083519492233, 2.9881809157068346], [-26.196639664137873, 34.55247804148711]]
    for transform, expected in ((stored.transform, forward), (stored.inverse, back)):
        torch.testing.assert_close(transform(points), torch.tensor(expected).double(), rtol=0, atol=1e-5)
    assert [step.kind for step in stored.steps] == ["fields", "displacement"] and not stored.inverse_steps
    assert nephi_bytes(stored) == path.read_bytes()


@pytest.mark.parametrize("encoding", ["nested", "hash"])
def test_fields_of_splines(make_stored, grids, tmp_path, points_in, encoding) -> None:
    """They need version 4, which nephi before splines refuses; files of linear fields have no new key."""
    names = {}
    for interpolation in ("linear", "quadratic", "cubic"):
        stored = make_stored(grids[3], encoding=encoding, interpolation=interpolation, local_codes=2)
        path = tmp_path / f"{interpolation}.nephi"
        path.write_bytes(nephi_bytes(stored))
        back, points = read_nephi(path), points_in(stored.fixed_grid)
        assert back.steps[0].settings == stored.steps[0].settings
        assert torch.equal(back.transform(points), stored.transform(points)) and nephi_bytes(back) == path.read_bytes()
        header, _ = FILE.read(path)
        names[interpolation] = (header["version"], "interpolation" in str(header))
    assert names == {"linear": (1, False), "quadratic": (4, True), "cubic": (4, True)}


@pytest.fixture
def long(make_stored, grids) -> StoredTransform:
    """Two pairs of fields over grids of their own and a displacement, away from the fixed image's grid."""
    grid = grids[3]
    fields = [make_stored(grid, amplitude=0.15, spacings=(s,)).steps[0] for s in (6.0, 3.0)]
    shift = torch.eye(4, dtype=torch.float64)
    shift[:-1, -1] = torch.tensor([20.0, -3.0, 7.5])
    moved_grid = grid.transformed(shift)
    moved = [FieldStep(step.pair.translated(moved_grid)) for step in fields]
    draws = torch.rand(*grid.shape, 3, generator=torch.Generator().manual_seed(2))
    last = DisplacementStep(ContinuedDisplacement(0.3 * draws, moved_grid))
    return StoredTransform(AffineTransform(shift), grid, moved_grid, (*moved, last), {"fit": {}}, {"seed": 1})


def test_steps_with_grids_of_their_own(long, points_in, tmp_path) -> None:
    path = tmp_path / "long.nephi"
    path.write_bytes(nephi_bytes(long))
    back, points = read_nephi(path), points_in(long.steps[0].grid, 40, margin=2.0)
    assert_same(back, long, points)
    assert nephi_bytes(back) == path.read_bytes()
    expected = points
    for step in long.steps:
        expected = step.forward(expected)
    assert torch.equal(long.transform(points), long.affine(expected))
    assert float((long.transform(long.inverse(points)) - points).norm(dim=-1).max()) < 1e-3
    assert back.unrefined_inverse is None  # the displacement has none
    fields = replace(long, steps=long.steps[:2])
    assert fields.unrefined_inverse is not None
    first, second = (step.pair.inverse_field for step in fields.steps)
    assert torch.equal(fields.unrefined_inverse(points), first(second(fields.affine.inverse()(points))))


def test_translated_fields(long, make_stored, grids, points_in) -> None:
    pair = make_stored(grids[3], amplitude=0.15, spacings=(6.0,)).steps[0].pair
    long_pair, points = long.steps[0].pair, points_in(grids[3], 40, margin=2.0)
    shift = long.affine.matrix[:-1, -1]
    for a, b in ((pair.forward_field, long_pair.forward_field), (pair.inverse_field, long_pair.inverse_field)):
        torch.testing.assert_close(b(points + shift), a(points) + shift, rtol=0, atol=1e-4)


def test_damaged_steps_are_named(long, tmp_path) -> None:
    for change, complaint in (
        (put("steps", [{"grid": {}, "field": None}]), "KeyError"),
        (lambda header, tensors: header["steps"].pop(), r"Unexpected key steps\.2\.displacement"),
        (lambda header, tensors: tensors.pop("steps.2.displacement"), "KeyError 'displacement'"),
        (lambda header, tensors: header["steps"][0].update(field=None), "KeyError 'displacement'"),
        (spoil("steps.2.displacement", float("nan")), "holds NaN"),
        (lambda header, tensors: header["steps"][1]["field"].update(spacings=[0.01]), "smaller than its settings"),
        (put("version", 1), "KeyError 'field'"),
        (put("inverse_steps", [{"kind": "affine"}]), "KeyError 'matrix'"),
        (put("inverse_steps", [{"kind": "wave"}]), "expected a step of kind fields, .*found 'wave'"),
        (put("inverse_steps", [{"kind": ["affine"]}]), "expected a step of kind"),
        (lambda header, tensors: tensors.update({"steps.2.more": torch.zeros(1)}), "Unexpected key more in a step of"),
        (put("inverse_steps", 3), "TypeError"),
        (
            lambda header, tensors: header["fixed_grid"].update(shape=[1e300] * len(header["fixed_grid"]["shape"])),
            "whole",
        ),
        (lambda header, tensors: header["fixed_grid"].update(shape=[2**21] * 3), r"voxels|affine"),
    ):
        path = tmp_path / "long.nephi"
        path.write_bytes(nephi_bytes(long))
        edit(path, change)
        with pytest.raises(DataError, match=rf"long\.nephi: .*({complaint})"):
            read_nephi(path)


def test_an_inverse_that_was_not_fitted_is_solved(grids, make_stored, points_in) -> None:
    stored = make_stored(grids[3], inverse=False, amplitude=0.2)
    assert stored.unrefined_inverse is None
    points = points_in(grids[3])
    torch.testing.assert_close(stored.transform(stored.inverse(points)), points, rtol=0, atol=1e-3)


def test_codes_are_stored_once_and_shared_again(stored, path) -> None:
    names: list[str] = []
    edit(path, lambda header, tensors: names.extend(tensors))
    assert sum("codes." in name for name in names) == 2
    back = read_nephi(path).steps[0].pair
    assert back.forward_field.codes is back.inverse_field.codes


def test_tables_are_stored_in_half_precision(path) -> None:
    types: dict[str, torch.dtype] = {}
    edit(path, lambda header, tensors: types.update({name: t.dtype for name, t in tensors.items()}))
    for name, dtype in types.items():
        assert dtype == (
            torch.float16 if name.endswith(".table") else torch.float64 if name == "affine" else torch.float32
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 1), (300, 2, 5)])
def test_least_size_is_not_above_the_size(small_settings, trained_pair, kind, shape) -> None:
    """Every valid file passes the check."""
    field_settings, grid = small_settings(**KINDS[kind]), Grid.from_spacing(shape, (1.0, 0.5, 0.1))
    for change in ({}, {"layers": 1}, {"inverse": False}, {"table_size": 100_000}):
        changed = replace(field_settings, **change)
        numbers = sum(t.numel() for t in trained_pair(changed, grid).state_dict().values())
        assert least_size(changed, grid) <= numbers


def test_an_inverse_without_steps_is_that_of_the_affine_map(grid, points_in, tmp_path) -> None:
    """The stored inverse steps of a prediction that is affine up to rounding are no part of it."""
    matrix = torch.eye(grid.dimension + 1, dtype=torch.float64)
    matrix[0, 1], matrix[0, -1] = 0.2, 3.0
    affine = AffineTransform(matrix)
    inverse_steps = (AffineStep(AffineTransform.identity(grid.dimension)),)
    (tmp_path / "t.nephi").write_bytes(nephi_bytes(StoredTransform(affine, grid, grid, inverse_steps=inverse_steps)))
    points = points_in(grid, 10, margin=1.0)
    torch.testing.assert_close(read_nephi(tmp_path / "t.nephi").inverse(points), affine.inverse()(points))
