"""Damaged and hostile `.nephi` files."""

import json
import os
import pickle
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open as open_file
from safetensors.torch import load, save, save_file

from nephi.errors import DataError
from nephi.fields import nephi_bytes, read_nephi
from nephi.fields.steps import fields

from .nephi_files import edit, put, spoil


def test_missing_file(tmp_path) -> None:
    with pytest.raises(DataError, match=r"none\.nephi: no such file"):
        read_nephi(tmp_path / "none.nephi")
    with pytest.raises(DataError, match="a folder; expected a"):
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
    monkeypatch.setattr(fields, "build_fields", lambda *args: pytest.fail("fields were built"))
    edit(path, lambda header, tensors: header["field"].update(change))
    with pytest.raises(DataError, match=r"smaller than its settings require|below 2\^53|field\.[a-z_]+: expected"):
        read_nephi(path)


TABLE = "pair.forward_field.encoding.table"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (spoil(TABLE, float("nan")), f"{TABLE} holds NaN"),
        (spoil("affine", float("inf")), "affine holds NaN"),
        (put("version", 6), "version 6, this nephi reads 1 and 2 and 3 and 4 and 5; update nephi"),
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


@pytest.mark.parametrize("value", [1e16, 1e38, -1e38])
def test_absurd_values(path: Path, value: float) -> None:
    """Points would be mapped to NaN: products in single precision are infinite, or the value in half precision is."""
    for name in load(path.read_bytes()):
        data = path.read_bytes()
        edit(path, spoil(name, value))
        with pytest.raises(DataError, match=r"pair\.nephi: damaged .*holds (values beyond 1e\+15|NaN)") as error:
            read_nephi(path)
        assert "\n" not in str(error.value)
        path.write_bytes(data)


def test_weights_whose_products_overflow(path: Path) -> None:
    """No single one is too large."""

    def enlarge(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        for tensor in tensors.values():
            if tensor.dtype == torch.float32:
                tensor.copy_(torch.full_like(tensor, 1e14))

    with pytest.raises(DataError, match=r"damaged .*its transform maps points of its grid to NaN or infinite values"):
        read_nephi(edit(path, enlarge))
