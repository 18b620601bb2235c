"""`.nephi` files: round trips, damaged and hostile files."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open as open_file
from safetensors.torch import load, save, save_file

from nephi.errors import DataError
from nephi.fields import DisplacementStep, FieldStep, StoredTransform, nephi_bytes, read_nephi, storage
from nephi.geometry import Grid, Plane
from nephi.transforms import AffineTransform, ContinuedDisplacement

KINDS: dict[str, dict[str, Any]] = {
    "dense silu": {},
    "hash gated, codes": {"encoding": "hash", "decoder": "gated-sine", "global_codes": 2, "local_codes": 3},
    "fourier siren, edge": {"encoding": "fourier", "decoder": "siren", "amplitude_unit": "edge"},
    "coordinates, no inverse": {"encoding": "coordinates", "inverse": False, "local_codes": 1},
}
Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], None]


@pytest.fixture
def make_stored(small_settings, trained_pair) -> Callable[..., StoredTransform]:
    def make(grid: Grid, **changes: Any) -> StoredTransform:
        field_settings = small_settings(**changes)
        pair = trained_pair(field_settings, grid).requires_grad_(False)
        pair.round_tables()
        matrix = torch.eye(grid.dimension + 1, dtype=torch.float64)
        matrix[0, 1], matrix[0, -1] = 0.1, 1 / 3
        moving_grid = Grid(tuple(n + 1 for n in grid.shape), grid.affine)
        tables = {"fit": {"steps": 300, "rate": 1e-3}, "name": "ü"}
        steps = (FieldStep(pair),)
        return StoredTransform(AffineTransform(matrix), grid, moving_grid, steps, tables, {"seed": 7})

    return make


@pytest.fixture
def stored(make_stored, grids) -> StoredTransform:
    return make_stored(grids[3], encoding="hash", global_codes=2, local_codes=3)


@pytest.fixture
def path(stored, tmp_path) -> Path:
    file = tmp_path / "pair.nephi"
    file.write_bytes(nephi_bytes(stored))
    return file


def edit(path: Path, change: Change) -> Path:
    """Write the file again after `change(header, tensors)`, without a checksum like older files."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["nephi"])
    tensors = load(data)
    del header["checksum"]
    change(header, tensors)
    path.write_bytes(save(tensors, metadata={"nephi": json.dumps(header, sort_keys=True)}))
    return path


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
        (put("inverse_steps", [{"kind": "spline"}]), "KeyError 'grid'"),
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


def test_ununrefined_inverse_is_solved(grids, make_stored, points_in) -> None:
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


def test_missing_file(tmp_path) -> None:
    with pytest.raises(DataError, match=r"none\.nephi: no such file"):
        read_nephi(tmp_path / "none.nephi")
    with pytest.raises(DataError, match="no such file"):
        read_nephi(tmp_path)


@pytest.mark.parametrize("fraction", [0, 0.001, 0.02, 0.3, 0.9, 0.9999])
def test_file_cut_short(path, fraction) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(fraction * len(data))])
    with pytest.raises(DataError, match=r"pair\.nephi: not a \.nephi transform, or cut short"):
        read_nephi(path)


def test_longer_file(path) -> None:
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(DataError, match=r"not a \.nephi transform"):
        read_nephi(path)


def test_safetensors_of_others(tmp_path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "model.nephi", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"a safetensors file, but not a \.nephi transform"):
        read_nephi(tmp_path / "model.nephi")


class Bomb:
    """Write a file when unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("write", [torch.save, lambda o, f: f.write_bytes(pickle.dumps(o))], ids=["torch", "pickle"])
def test_pickle_is_refused_and_does_not_run(tmp_path, write) -> None:
    write(Bomb(tmp_path / "ran"), tmp_path / "evil.nephi")
    with pytest.raises(DataError, match=r"evil\.nephi: not a \.nephi transform"):
        read_nephi(tmp_path / "evil.nephi")
    assert not (tmp_path / "ran").exists()
    if write is not torch.save:
        pickle.loads((tmp_path / "evil.nephi").read_bytes())
        assert (tmp_path / "ran").exists()  # it would have


@pytest.mark.parametrize(
    "change",
    [
        {"encoding": "dense", "spacings": [0.01]},
        {"encoding": "nested", "spacings": [0.01]},
        {"encoding": "dense", "spacings": [1e-300]},
        {"encoding": "hash", "spacings": [0.01], "table_size": 10**9},
        {"channels": 10**9},
        {"encoding": "fourier", "frequencies": 10**9},
        {"hidden": 10**5},
        {"hidden": 10**200},
        {"layers": 10**9},
        {"global_codes": 10**9},
        {"local_codes": 10**9},
        {"code_spacing": 0.01},
    ],
    ids=str,
)
def test_settings_larger_than_the_tensors_are_refused_before_allocation(path, monkeypatch, change) -> None:
    monkeypatch.setattr(storage, "build_fields", lambda *args: pytest.fail("fields were built"))
    edit(path, lambda header, tensors: header["field"].update(change))
    with pytest.raises(DataError, match=r"smaller than its settings require|below 2\^53|field\.[a-z_]+: expected"):
        read_nephi(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 1), (300, 2, 5)])
def test_least_size_is_not_above_the_size(small_settings, trained_pair, kind, shape) -> None:
    """Every valid file passes the check."""
    field_settings, grid = small_settings(**KINDS[kind]), Grid.from_spacing(shape, (1.0, 0.5, 0.1))
    for change in ({}, {"layers": 1}, {"inverse": False}, {"table_size": 100_000}):
        changed = replace(field_settings, **change)
        numbers = sum(t.numel() for t in trained_pair(changed, grid).state_dict().values())
        assert storage._least_size(changed, grid) <= numbers


TABLE = "pair.forward_field.encoding.table"


def spoil(name: str, value: float) -> Change:
    return lambda header, tensors: tensors[name].view(-1)[0].fill_(value)


def put(key: str, value: Any) -> Change:
    return lambda header, tensors: header.update({key: value})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (spoil(TABLE, float("nan")), f"{TABLE} holds NaN"),
        (spoil("affine", float("inf")), "affine holds NaN"),
        (put("version", 3), "version 3, this nephi reads 1 and 2; update nephi"),
        (put("version", None), "version None"),
        (put("format", "other"), "not a .nephi transform"),
        (put("field", {"encoding": "magic"}), "field.encoding"),
        (put("field", {"colour": 1}), "colour: unknown setting"),
        (put("field", 3), "expected a table"),
        (put("fixed_grid", None), "TypeError"),
        (put("fixed_grid", {"shape": [3, 3, 3]}), "KeyError 'affine'"),
        (put("fixed_grid", {"shape": [3, 3], "affine": [[1, 0, 0], [0, 0, 0], [0, 0, 1]]}), "singular"),
        (put("moving_grid", {"shape": [1e400, 3], "affine": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}), "whole numbers"),
        (put("settings", 5), "TypeError"),
        (lambda header, tensors: header.pop("about"), "KeyError 'about'"),
        (lambda header, tensors: tensors.pop("affine"), "KeyError 'affine'"),
        (lambda header, tensors: tensors.update(affine=torch.tensor(1.0)), "3x3 or 4x4"),
        (lambda header, tensors: tensors.update(affine=torch.eye(3)), "differ in dimension"),
        (lambda header, tensors: tensors.pop(TABLE), "Missing key.*encoding.table"),
        (lambda header, tensors: tensors.update({TABLE: tensors[TABLE][:-1].clone()}), "size mismatch.*encoding.table"),
        (lambda header, tensors: tensors.update({"pair.more": torch.zeros(1)}), "Unexpected key.*more"),
    ],
)
def test_damage_is_named(path, change, complaint) -> None:
    edit(path, change)
    with pytest.raises(DataError, match=rf"pair\.nephi: .*({complaint})"):
        read_nephi(path)


@given(st.integers(0, 10**9), st.integers(0, 255), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_a_changed_byte_is_refused_or_harmless(path, place, value, early) -> None:
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    data[place % (8 + length if early else len(data))] = value
    changed = path.with_name("changed.nephi")
    changed.write_bytes(data)
    try:
        read_nephi(changed)
    except DataError as error:
        assert "changed.nephi" in str(error)


def test_deeply_nested_text(path) -> None:
    nested = "[" * 100_000 + "]" * 100_000
    path.write_bytes(save({"affine": torch.eye(4)}, metadata={"nephi": nested}))
    with pytest.raises(DataError):
        read_nephi(path)


@pytest.mark.parametrize("kind", ["F8_E4M3", "F8_E5M2", "C64", "XYZ"])
def test_unsupported_types_are_refused(path, kind) -> None:
    """Half of them are unsupported by safetensors, the others by `torch.isfinite`."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    start, stop = header["affine"]["data_offsets"]
    header["affine"] |= {"dtype": kind, "shape": [(stop - start) // (8 if kind == "C64" else 1)]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    with pytest.raises(DataError, match=r"pair\.nephi: (damaged|not a) \.nephi transform"):
        read_nephi(path)


def test_a_transform_does_not_depend_on_its_file_after_reading(path) -> None:
    """Tensors that stay mapped change with the file, and a file that is cut ends the process (SIGBUS)."""
    whole = path.read_bytes()
    read = read_nephi(path)
    path.write_bytes(bytes(len(whole)))
    assert nephi_bytes(read) == whole


def test_a_flipped_bit_is_found(path) -> None:
    """In the tensors, which safetensors does not check, and in the header."""
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    places = [*range(8 + length, len(whole), 97), whole.index(b"fixed_grid") - 20, whole.index(b"shape")]
    for place in places:
        for bit in (0, 6):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(DataError, match=r"pair\.nephi: (damaged|not a) \.nephi transform"):
                read_nephi(path)
    path.write_bytes(whole)
    assert nephi_bytes(read_nephi(path)) == whole
    edit(path, lambda header, tensors: None)
    assert nephi_bytes(read_nephi(path)) == whole


@pytest.mark.parametrize("text", ["[" * 100_000, '{"seed": ' + "1" * 5000 + "}", '"' + "x" * 100, "[1]"])
def test_a_hostile_header(path, text) -> None:
    path.write_bytes(save(load(path.read_bytes()), metadata={"nephi": text}))
    with pytest.raises(DataError, match=r"pair\.nephi: "):
        read_nephi(path)


@pytest.mark.parametrize("key", ["fixed_grid", "moving_grid", "field", "settings", "about"])
@pytest.mark.parametrize("value", [None, 3, "x", [], [[]], {"shape": 5}, {"shape": [2, 2], "affine": "x"}], ids=repr)
def test_any_value_in_the_header(path, key, value) -> None:
    edit(path, lambda header, tensors: header.update({key: value}))
    with suppress(DataError):
        read_nephi(path)


def test_names_that_are_not_utf8_or_too_long(path) -> None:
    odd = path.with_name(os.fsdecode(b"\xff.nephi"))
    path.rename(odd)
    assert read_nephi(odd).fixed_grid is not None
    with pytest.raises(DataError, match="no such file"):
        read_nephi(path.with_name("n" * 300))


def test_ordinary_names_need_no_descriptors_with_names(path, monkeypatch) -> None:
    """`/dev/fd` is missing on Windows, and without /proc."""
    opened = []
    monkeypatch.setattr(
        "safetensors.safe_open", lambda name, framework: opened.append(name) or open_file(name, framework)
    )
    read_nephi(path)
    assert opened == [str(path)]


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16])
def test_types_without_arithmetic_are_refused(path, dtype) -> None:
    tensors = load(path.read_bytes())
    name = next(name for name, tensor in tensors.items() if tensor.dtype == torch.float32)
    tensors[name] = tensors[name].to(dtype)
    with open_file(str(path), framework="pt") as handle:
        metadata = handle.metadata()
    path.write_bytes(save(tensors, metadata=metadata))
    with pytest.raises(DataError, match=rf"pair\.nephi: .*{name} is of type {dtype}"):
        read_nephi(path)
