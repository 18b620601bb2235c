"""NRRD headers: grid and values as in SimpleITK, and errors for invalid headers."""

import bz2
import contextlib
import gzip
import os
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nephi.errors import DataError, DataWarning
from nephi.io import read_displacement, read_grid, read_image

from .itk_placement import require_itk_placement

HEADER = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "2 3 4",
    "space directions": "(0.9,1.2,0) (0,0,0.75) (2.4,-1.8,0)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(-30,20.5,7)",
}
PLAIN: dict[str, str | None] = {"space": None, "space directions": None, "space origin": None}
VOXELS = np.arange(24, dtype="<i2") * 7 - 50


def write(path: Path, data: bytes | None = None, **fields: str | None) -> Path:
    """Write a file of the header above, changed by `fields` (`_` for a space in the name, None: left out)."""
    changed = {key.replace("_", " "): value for key, value in fields.items()}
    lines = [f"{key}: {value}\n" for key, value in (HEADER | changed).items() if value is not None]
    path.write_bytes(
        "".join(["NRRD0005\n# by hand\n", *lines, "\n"]).encode() + (VOXELS.tobytes() if data is None else data)
    )
    return path


@pytest.mark.parametrize(
    "fields",
    [
        {"endian": "big"},
        {"type": "uint16"},
        {"type": "UNSIGNED SHORT INT", "encoding": "RAW"},
        {"space": "RAS"},
        {"space": "Left Anterior Superior"},
        {"space_directions": "(1, 0, 0) ( 0 ,2,0)   (0,0,-3)"},
        {"kinds": None},
        {"kinds": "space space space"},
        {"kinds": "??? none domain"},
        {"content": "a: b := c", "labels": '"x" "y" "z"', "thicknesses": "nan nan 3", "number": "nonsense"},
        {"spacings": "nan nan nan"},
        {"sizes": "1 2 3 4", "dimension": "4", "kinds": "scalar domain domain domain"}
        | {"space_directions": "none (0.9,1.2,0) (0,0,0.75) (2.4,-1.8,0)"},
    ],
)
def test_as_simpleitk(tmp_path: Path, fields: dict[str, str | None]) -> None:
    require_itk_placement(write(tmp_path / "a.nrrd", **fields))
    assert read_image(tmp_path / "a.nrrd").warnings == ()


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        (PLAIN, "no space and no position and no spacing; axes of LPS, the position 0 mm, the spacing 1 mm are used"),
        (PLAIN | {"spacings": "1 2 -3"}, "no space and no position; "),
        (PLAIN | {"spacings": "1 2 3", "axis_mins": "5 6 7"}, "no space; "),
        (PLAIN | {"spacings": "nan 2 3", "axis_mins": "5 6 7", "axis_maxs": "7 9 10"}, "no space and no spacing"),
        (PLAIN | {"spacings": "1 2 3", "axis_mins": "5 6 7", "centers": "node cell node"}, "no space; "),
        ({"space_origin": None}, "no space origin; 0 mm is used"),
        ({"space_directions": None, "space": "RAS"}, "no direction for an axis"),
        ({"space_directions": "none (0,2,0) (0,0,3)"}, "no direction for an axis"),
        ({"space": "3D-right-handed"}, "3drighthanded without anatomical axes; it is read as LPS"),
        ({"space": "scanner-xyz"}, "scannerxyz without"),
        ({"space_units": '"um" "um" "um"'}, "space units um; its numbers are read as mm"),
    ],
)
def test_incomplete_headers_are_read_as_by_itk(tmp_path: Path, fields: dict[str, str | None], match: str) -> None:
    with pytest.warns(DataWarning, match=match):
        require_itk_placement(write(tmp_path / "a.nrrd", **fields))


def test_a_frame_of_three_dimensions_without_a_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nrrd")
    path.write_bytes(path.read_bytes().replace(b"space: left-posterior-superior", b"space dimension: 3"))
    with pytest.warns(DataWarning, match="read as LPS"):
        require_itk_placement(path)


@pytest.mark.parametrize(
    "case", ["gzip", "bzip2", "members", "text", "hex", "skip", "skip in gzip", "end", "lines", "CRLF"]
)
def test_attached_voxels(tmp_path: Path, case: str) -> None:
    path, raw = tmp_path / "a.nrrd", VOXELS.tobytes()
    match case:
        case "gzip":
            write(path, gzip.compress(raw), encoding="gzip")
        case "bzip2":
            write(path, bz2.compress(raw[:10]) + bz2.compress(raw[10:]), encoding="bz2")
        case "members":
            write(path, gzip.compress(raw[:10]) + gzip.compress(raw[10:]) + bytes(7), encoding="gz")
        case "text":
            write(path, " ".join(map(str, VOXELS)).encode() + b"\n", encoding="ascii", endian=None)
        case "hex":
            write(path, raw.hex(" ", 5).encode(), encoding="hex")
        case "skip":
            write(path, b"12345" + raw, byte_skip="5")
        case "skip in gzip":
            write(path, gzip.compress(b"12345" + raw), byte_skip="5", encoding="gzip")
        case "end":
            write(path, b"12345" + raw + b"ab", byte_skip="-3")
        case "lines":
            write(path, b"12345\n\nabc" + raw, line_skip="2", byte_skip="3")
        case "CRLF":
            write(path, raw)
            header, _, data = path.read_bytes().partition(b"\n\n")
            path.write_bytes(header.replace(b"\n", b"\r\n") + b"\r\n\r\n" + data)
    np.testing.assert_array_equal(read_image(path).data.numpy(), VOXELS.reshape(4, 3, 2).T)
    if case != "bzip2":  # ITK is built without
        require_itk_placement(path)


@pytest.mark.parametrize("case", ["one", "list", "list of lines", "pattern", "slabs", "backwards"])
def test_detached_voxels(tmp_path: Path, case: str) -> None:
    path, raw = tmp_path / "a.nhdr", VOXELS.tobytes()
    match case:
        case "one":
            write(path, b"", data_file="v.raw")
            (tmp_path / "v.raw").write_bytes(raw)
        case "list":
            path = write(path, b"", data_file="LIST\nz3\nz1\nz 2\nz0")
            for index, name in enumerate(("z3", "z1", "z 2", "z0")):
                (tmp_path / name).write_bytes(raw[index * 12 : index * 12 + 12])
        case "list of lines":
            path = write(path, b"", data_file="LIST 1\n" + "\n".join(f"l{i}" for i in range(12)))
            for index in range(12):
                (tmp_path / f"l{index}").write_bytes(raw[index * 4 : index * 4 + 4])
        case "pattern" | "backwards":
            numbers = range(2, 9, 2) if case == "pattern" else range(8, 1, -2)
            write(path, b"", data_file=f"z%03d.raw {numbers[0]} {numbers[-1]} {numbers.step}")
            for index, number in enumerate(numbers):
                (tmp_path / f"z{number:03d}.raw").write_bytes(raw[index * 12 : index * 12 + 12])
        case "slabs":
            write(path, b"", data_file="z%d.raw 0 1 1 3")
            for index in range(2):
                (tmp_path / f"z{index}.raw").write_bytes(raw[index * 24 : index * 24 + 24])
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))  # ITK takes an empty line for a name
    require_itk_placement(path)


@pytest.mark.parametrize("axis", [0, 2, 3])
def test_vectors(tmp_path: Path, axis: int) -> None:
    """A displacement field with its components on any axis of the file."""
    sizes, kinds = ["2", "3", "4"], ["domain"] * 3
    directions = ["(0.9,1.2,0)", "(0,0,0.75)", "(2.4,-1.8,0)"]
    for words, word in ((sizes, "3"), (kinds, "vector"), (directions, "none")):
        words.insert(axis, word)
    path = write(
        tmp_path / "a.nrrd",
        np.arange(72, dtype=">f4").tobytes(),
        type="float",
        dimension="4",
        sizes=" ".join(sizes),
        kinds=" ".join(kinds),
        endian="big",
        space_directions=" ".join(directions),
        space="RAS",
    )
    field, itk_image, index = read_displacement(path), sitk.ReadImage(str(path)), (1, 2, 3)
    flip = np.array([-1, -1, 1])
    np.testing.assert_allclose(field.displacement[index].numpy(), np.array(itk_image.GetPixel(index)) * flip)
    place = torch.tensor(itk_image.TransformIndexToPhysicalPoint(index), dtype=torch.float64) * torch.from_numpy(flip)
    torch.testing.assert_close(field.grid.voxel_to_world_points(torch.tensor(index).double()), place)


@pytest.mark.parametrize("first", [True, False])
def test_series(tmp_path: Path, first: bool) -> None:
    """Three axes of space and one of time, as in 3-D Slicer; a single volume is an image."""
    sizes, directions, kinds = ["2", "3", "4"], HEADER["space directions"].split(), ["domain"] * 3
    for count in (1, 2):
        place = 0 if first else 3
        fields = {
            "dimension": "4",
            "sizes": " ".join([*sizes[:place], str(count), *sizes[place:]]),
            "kinds": " ".join([*kinds[:place], "time", *kinds[place:]]),
            "space_directions": " ".join([*directions[:place], "none", *directions[place:]]),
        }
        path = write(tmp_path / "a.nrrd", VOXELS.tobytes() * count, **fields)
        assert read_grid(path).same_as(read_image(write(tmp_path / "b.nrrd")).grid)
        if count == 1:
            np.testing.assert_array_equal(read_image(path).data.numpy(), VOXELS.reshape(4, 3, 2).T)
        else:
            with pytest.raises(DataError, match="4-D series of 2 volumes"):
                read_image(path)


def test_vectors_without_kinds(tmp_path: Path) -> None:
    write(
        tmp_path / "a.nrrd",
        np.arange(72, dtype="<f4").tobytes(),
        type="float",
        dimension="4",
        sizes="3 2 3 4",
        kinds=None,
        space_directions="none (0.9,1.2,0) (0,0,0.75) (2.4,-1.8,0)",
        measurement_frame="(0,1,0) (1,0,0) (0,0,1)",
    )
    with pytest.warns(DataWarning, match="measurement frame"):
        field = read_displacement(tmp_path / "a.nrrd")
    assert field.displacement[1, 0, 0].tolist() == [-3, -4, 5]


@pytest.mark.parametrize(
    ("space", "warned"),
    [("right-anterior-superior", True), ("LAS", True), ("left-posterior-superior", False)],
)
def test_vectors_in_a_space_that_is_not_lps(tmp_path: Path, space: str, warned: bool) -> None:
    """ITK applies the space to positions, and not to vectors."""
    path = write(
        tmp_path / "a.nrrd",
        np.arange(72, dtype="<f4").tobytes(),
        type="float",
        dimension="4",
        sizes="3 2 3 4",
        kinds="vector domain domain domain",
        space=space,
        space_directions="none (0.9,1.2,0) (0,0,0.75) (2.4,-1.8,0)",
    )
    expected = pytest.warns(
        DataWarning, match=rf"a\.nrrd: the header has the space {space}, .* vectors are read as LPS"
    )
    with expected if warned else contextlib.nullcontext():
        field = read_displacement(path)
    assert field.displacement[1, 0, 0].tolist() == [-3, -4, 5]


@pytest.mark.parametrize("length", [46, 50])
@pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
def test_compressed_data_of_another_length(tmp_path: Path, length: int, encoding: str) -> None:
    pack = gzip.compress if encoding == "gzip" else bz2.compress
    with pytest.raises(DataError, match="expected 48 bytes of voxels"):
        read_image(write(tmp_path / "a.nrrd", pack(bytes(length)), encoding=encoding))


@pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
def test_every_flipped_bit_in_compressed_voxels_is_found(tmp_path: Path, encoding: str) -> None:
    pack = gzip.compress if encoding == "gzip" else bz2.compress
    packed = pack(VOXELS.tobytes())
    for place in range(10 if encoding == "gzip" else 0, len(packed)):  # gzip's header has a time
        damaged = bytearray(packed)
        damaged[place] ^= 1 << place % 8
        try:
            data = read_image(write(tmp_path / "a.nrrd", bytes(damaged), encoding=encoding)).data
        except DataError:
            continue
        np.testing.assert_array_equal(data.numpy(), VOXELS.reshape(4, 3, 2).T)


def test_bytes_after_compressed_voxels(tmp_path: Path) -> None:
    with pytest.warns(DataWarning, match="5 bytes after the complete"):
        require_itk_placement(write(tmp_path / "a.nrrd", gzip.compress(VOXELS.tobytes()) + b"trail", encoding="gzip"))


def test_a_decompression_bomb_is_refused_before_memory_is_allocated(tmp_path: Path) -> None:
    packed = gzip.compress(bytes(10**6))
    path = write(tmp_path / "a.nrrd", packed, sizes="10000 10000 1000", encoding="gzip")
    with pytest.raises(DataError, match=rf"expected 2{'0' * 11} bytes of voxels, found .* \(compressed\)"):
        read_image(path)


@pytest.mark.parametrize(
    "fields",
    [
        *({"dimension": n} for n in ("-1", "0", "17", "1e300", "three", "2", "4")),
        *({"sizes": n} for n in ("2 3", "2 3 -4", "2 3 0", "2 3 4 5", "1e10 1e10 1e10", "2,3,4")),
        *({"type": n} for n in ("block", "char", "%s", "", "float128")),
        *({"encoding": n} for n in ("rawr", "%n", "", "zrl")),
        *({"endian": n} for n in ("middle", "")),
        *({"kinds": n} for n in ("domain domain", "vector domain vector", "complex domain domain")),
        *({"space_directions": n} for n in ("(1,0) (0,1)", "(1,0,0) (0,1,0)", "(1,0,0) (0,1,0) (0,0,0)", "1 2 3")),
        *(
            {"space_directions": f"(1,0,0) (0,1,0) {n}"}
            for n in ("(0,0,inf)", "(0,0,nan)", "(0,0,1", "(1,1,0)", "(a,b,c)")
        ),
        *({"space_origin": n} for n in ("(1,2)", "(1,2,inf)", "1,2,3", "(1;2;3)")),
        *({"byte_skip": n} for n in ("-1e300", "99999999999", "a")),
        *({"line_skip": n} for n in ("-1", "1e300", "50")),
        *({name: "1 2 3"} for name in ("spacings", "axis_mins", "axis_maxs")),  # beside space directions
        {"space": "RAST"},
        {"space": "%s"},
        {"space_dimension": "3"},  # beside space
        PLAIN | {"spacings": "1 " * 1_000_000},
        PLAIN | {"spacings": "1 2 0"},
        PLAIN | {"spacings": "1 2 3", "axis_mins": "5 6 1e999"},
        {"unknown": "field"},
        {"Sizes": "2 3 4"},  # twice
        {"x" * 1024: "1"},
        {"x" * 100_000: "1"},
        {"content\n" + "y" * 5000: "1"},
    ],
)
def test_damaged_headers_are_refused(tmp_path: Path, fields: dict[str, str | None]) -> None:
    path = write(tmp_path / "a.nrrd", **fields)
    start = time.monotonic()
    with pytest.raises(DataError, match=r"a\.nrrd: ") as caught:
        read_image(path)
    assert len(str(caught.value)) < 500 + len(str(path))
    assert time.monotonic() - start < 2


def test_long_keys_and_values_of_the_user_are_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nrrd")
    pair = b"Segment_" + b"x" * 2000 + b":=" + b"v" * 50_000 + b"\n"
    path.write_bytes(path.read_bytes().replace(b"endian", pair * 3 + b"endian"))
    assert read_image(path).warnings == ()


@pytest.mark.parametrize(
    "name",
    [
        *(
            "%s",
            "%n",
            "z%d.raw",
            "z%d.raw 1 4",
            "z%d.raw 1 4 0",
            "z%d.raw 4 1 1",
            "z%d.raw 1 2000000000 1",
            "%s%d 1 4 1",
        ),
        *(
            "/dev/zero",
            "../v.raw",
            "C:\\v.raw",
            "missing.raw",
            "pipe",
            "folder",
            "to_zero",
            "v\x1b[31m.raw",
            "v" * 300,
            "-",
        ),
        *("LIST", "LIST 7", "LIST\nv.raw", "LIST\n/dev/zero\n/dev/zero\n/dev/zero\n/dev/zero", "z%1000d 1 4 1"),
    ],
)
def test_names_of_data_files_that_are_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for place in (tmp_path, folder):
        (place / "v.raw").write_bytes(VOXELS.tobytes())
    (folder / "folder").mkdir()
    (folder / "to_zero").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")
    with pytest.raises(DataError, match=r"a\.nhdr: "):
        read_image(write(folder / "a.nhdr", b"", data_file=name))
