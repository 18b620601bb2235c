"""MetaImage headers: grid and values as in SimpleITK, and errors for invalid headers."""

import gzip
import os
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nephi.errors import DataError, DataWarning
from nephi.io import image_grid, read_displacement, read_grid, read_image

from .itk_placement import require_itk_placement

HEADER = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "CompressedData": "False",
    "Offset": "-30 20.5 7",
    "TransformMatrix": "0.6 0.8 0 0 0 1 0.8 -0.6 0",
    "ElementSpacing": "1.5 0.75 3",
    "DimSize": "2 3 4",
    "ElementType": "MET_SHORT",
}
VOXELS = np.arange(24, dtype="<i2") * 7 - 50


def write(path: Path, data: bytes | None = None, file: str = "LOCAL", **fields: str | None) -> Path:
    """Write a file of the header above, changed by `fields` (None: left out); LOCAL data follow."""
    lines = [f"{key} = {value}\n" for key, value in (HEADER | fields).items() if value is not None]
    path.write_bytes(
        "".join([*lines, f"ElementDataFile = {file}\n"]).encode() + (VOXELS.tobytes() if data is None else data)
    )
    return path


@pytest.mark.parametrize(
    "fields",
    [
        {"BinaryDataByteOrderMSB": "True"},
        {"ElementByteOrderMSB": "True"},
        {"ElementType": "MET_USHORT"},
        {"ElementSpacing": "-1.5 0.75 3"},
        {"TransformMatrix": "1 0 0 0.5 1 0 0 0 2"},
        {"TransformMatrix": None, "Rotation": "0 1 0 1 0 0 0 0 1"},
        {"HeaderSize": "-1"},
        {"Comment": "a: b = c"},
        {"Offset": None, "Position": "1 2 3"},
        {"ElementSpacing": None, "ElementSize": "4 5 6"},
        {
            "DimSize": "6 4",
            "NDims": "2",
            "Offset": "1 2",
            "TransformMatrix": "0.6 0.8 0.8 -0.6",
            "ElementSpacing": "2 3",
        },
        {"AnatomicalOrientation": "???"},
        {"FileFormatVersion": "1"},
    ],
)
def test_as_simpleitk(tmp_path: Path, fields: dict[str, str | None]) -> None:
    require_itk_placement(write(tmp_path / "a.mha", **fields))
    assert read_image(tmp_path / "a.mha").warnings == ()


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"Offset": None}, r"a\.mha: the header has no position \(Offset\); 0 mm is used"),
        ({"ElementSpacing": None}, "no spacing"),
        (
            {"Position": "7 8 9"},
            "Offset -30 20.5 7 and Position|Position 7 8 9 and Offset -30 20.5 7; the second is used",
        ),
        ({"Origin": "7 8 9"}, "Offset -30 20.5 7 and Origin 7 8 9; the second is used"),
        ({"ImagePosition": "7 8 9"}, "ImagePosition 7 8 9; the second is used"),
        ({"Rotation": "1 0 0 0 1 0 0 0 1"}, "Rotation 1 0 0.* the second is used"),
        ({"Offset": "1 2 3 4"}, "more than 3 numbers for Offset; the first 3 are used"),
        ({"BinaryDataByteOrderMSB": "False", "ElementByteOrderMSB": "True"}, "two byte orders; Binary"),
        ({"DistanceUnits": "um"}, "DistanceUnits um; its numbers are read as mm"),
        ({"ElementToIntensityFunctionSlope": "2"}, "values are not scaled"),
        ({"TransformMatrix": "-1 0 0 0 -1 0 0 0 1", "AnatomicalOrientation": "RAI"}, "AnatomicalOrientation RAI"),
    ],
)
def test_incomplete_and_contradicting_headers_are_read_as_by_itk(
    tmp_path: Path, fields: dict[str, str | None], match: str
) -> None:
    path = write(tmp_path / "a.mha", **fields)
    with pytest.warns(DataWarning, match=match):
        require_itk_placement(path)


def test_a_repeated_field(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mha", ElementSpacing="1 1 1\nElementSpacing = 2 2 2")
    with pytest.warns(DataWarning, match="ElementSpacing twice"):
        require_itk_placement(path)


@pytest.mark.parametrize("data", ["text", "zlib", "gzip", "part", "files", "numbers", "renamed"])
def test_data_files_and_offsets(tmp_path: Path, data: str) -> None:
    path, raw = tmp_path / "a.mhd", VOXELS.tobytes()
    match data:
        case "text":
            write(path, b"", "v.txt", BinaryData="False")
            (tmp_path / "v.txt").write_text(" ".join(map(str, VOXELS)) + "\n")
        case "zlib":
            write(path, b"", "v.zraw", CompressedData="True", CompressedDataSize=str(len(zlib.compress(raw))))
            (tmp_path / "v.zraw").write_bytes(zlib.compress(raw))
        case "gzip":
            write(path, b"", "v.gz", CompressedData="True")
            (tmp_path / "v.gz").write_bytes(gzip.compress(raw))
        case "part":
            (tmp_path / "sub").mkdir()
            write(path, b"", "sub/v.raw", HeaderSize="11")
            (tmp_path / "sub" / "v.raw").write_bytes(bytes(11) + raw)
        case "files":
            write(path, b"z3\nz1\nz 2\nz0\n", "LIST")
            for index, name in enumerate(("z3", "z1", "z 2", "z0")):
                (tmp_path / name).write_bytes(raw[index * 12 : index * 12 + 12])
        case "numbers":
            write(path, b"", "z%03d.raw 2 8 2")
            for index in range(4):
                (tmp_path / f"z{2 + 2 * index:03d}.raw").write_bytes(raw[index * 12 : index * 12 + 12])
        case "renamed":
            write(path, b"", "v.raw")
            (tmp_path / "v.raw.gz").write_bytes(gzip.compress(raw))
    np.testing.assert_array_equal(read_image(path).data.numpy(), VOXELS.reshape(4, 3, 2).T)
    if data not in ("gzip", "renamed"):  # ITK 5.4 takes the length of gzip data from elsewhere
        require_itk_placement(path)


@pytest.mark.parametrize("order", ["True", "False"])
@pytest.mark.parametrize("d", [2, 3])
def test_vectors(tmp_path: Path, d: int, order: str) -> None:
    shape = (2, 3, 4)[:d]
    vectors = np.arange(d * np.prod(shape), dtype="f4").reshape(*shape[::-1], d)
    path = write(
        tmp_path / "a.mha",
        vectors.astype(">f4" if order == "True" else "<f4").tobytes(),
        NDims=str(d),
        DimSize=" ".join(map(str, shape)),
        Offset="1 2 3"[: 2 * d - 1],
        TransformMatrix="0 1 1 0" if d == 2 else "0 1 0 1 0 0 0 0 1",
        ElementSpacing="2 3 4"[: 2 * d - 1],
        ElementType="MET_FLOAT",
        ElementNumberOfChannels=str(d),
        BinaryDataByteOrderMSB=order,
    )
    field = read_displacement(path)
    itk_image = sitk.ReadImage(str(path))
    index = (1, 2, 3)[:d]
    flip = np.array([-1, -1, 1])[:d]
    np.testing.assert_allclose(field.displacement[index].numpy(), np.array(itk_image.GetPixel(index)) * flip)
    place = torch.tensor(itk_image.TransformIndexToPhysicalPoint(index)).double() * torch.from_numpy(flip)
    torch.testing.assert_close(field.grid.voxel_to_world_points(torch.tensor(index).double()), place)


def test_whole_numbers_that_torch_cannot_represent(tmp_path: Path) -> None:
    data = np.full(24, 2**63, dtype="<u8").tobytes()
    with pytest.raises(DataError, match=r"a\.mha: "):
        read_image(write(tmp_path / "a.mha", data, ElementType="MET_ULONG_LONG"))


def test_one_volume_of_a_series_is_a_volume(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.JoinSeries(sitk.GetImageFromArray(VOXELS.reshape(4, 3, 2))), str(tmp_path / "a.mha"))
    assert read_image(tmp_path / "a.mha").grid.shape == (2, 3, 4)


@pytest.mark.parametrize("suffix", ["mha", "nrrd"])
def test_a_series_has_a_grid(tmp_path: Path, suffix: str) -> None:
    """`read_grid` accepts a series, `read_image` does not."""
    path = tmp_path / f"a.{suffix}"
    sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(VOXELS.reshape(4, 3, 2))] * 5), str(path))
    assert read_grid(path).shape == (2, 3, 4)
    for read in (read_image, image_grid):
        with pytest.raises(DataError, match="found a 4-D series of 5 volumes"):
            read(path)


def test_one_flipped_bit_in_compressed_voxels_is_found(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 50, 4000).astype("<i2")
    image = sitk.GetImageFromArray(data.reshape(10, 20, 20))
    for name in ("a.mha", "a.nrrd"):
        sitk.WriteImage(image, str(tmp_path / name), useCompression=True)
        whole = (tmp_path / name).read_bytes()
        start = len(whole) - 2000
        for place in range(start, len(whole), 31):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << place % 8
            (tmp_path / name).write_bytes(damaged)
            with pytest.raises(DataError, match=name):
                read_image(tmp_path / name)


@pytest.mark.parametrize("length", [46, 50])
def test_compressed_data_of_another_length(tmp_path: Path, length: int) -> None:
    path = write(tmp_path / "a.mha", zlib.compress(bytes(length)), CompressedData="True")
    with pytest.raises(DataError, match="expected 48 bytes of voxels"):
        read_image(path)


def test_uncompressed_data_of_another_length(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected 48 bytes of voxels, found 46; the file is incomplete"):
        read_image(write(tmp_path / "a.mha", bytes(46)))
    with pytest.warns(DataWarning, match="3 bytes after the voxels"):
        require_itk_placement(write(tmp_path / "a.mha", VOXELS.tobytes() + b"abc"))


@pytest.mark.parametrize(
    "fields",
    [
        *({"NDims": n} for n in ("-1", "0", "1", "1e300", "1000000", "3.5", "nan", "three", "")),
        *({"DimSize": n} for n in ("2 3", "2 3 -4", "2 3 0", "2 3 4 5", "1e10 1e10 1e10", "2,3,4", "9999999999 1 1")),
        *({"ElementSpacing": s} for s in ("1 1", "1 1 0", "1 1 nan", "1 1 1e999", "1,5 1 1", "1 1 0x10")),
        *({"Offset": s} for s in ("1 1", "1 1 inf", "1 1 a", "1 1 " + "9" * 5000)),
        *({"TransformMatrix": s} for s in ("1 0 0 0 1 0", "1 0 0 0 1 0 0 0 nan", "1 0 0 1 0 0 0 0 1")),
        *({"ElementType": s} for s in ("MET_STRING", "MET_SHORTS", "%s", "")),
        *({"ElementNumberOfChannels": s} for s in ("0", "-1", "1e300")),
        *({"HeaderSize": s} for s in ("-2", "1e300", "nan")),
        {"CompressedData": "True", "CompressedDataSize": "-5"},
        {"Comment": "x" * 40_000},
        {"ObjectType": "Mesh"},
        {"ElementSpacing": "1 " * 1_000_000},
    ],
)
def test_damaged_headers_are_refused(tmp_path: Path, fields: dict[str, str]) -> None:
    path = write(tmp_path / "a.mha", **fields)
    start = time.monotonic()
    with pytest.raises(DataError, match=r"a\.mha: ") as caught:
        read_image(path)
    assert len(str(caught.value)) < 500 + len(str(path))
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    "name",
    [
        *("%s", "%n", "%s%s%s%n", "v%d%d.raw", "%1000d.raw 1 4 1", "v%03x.raw", "%*d"),
        *(
            "/dev/zero",
            "../v.raw",
            "sub/../../v.raw",
            "C:\\v.raw",
            "..\\v.raw",
            "missing.raw",
            "pipe",
            "folder",
            "to_zero",
        ),
        *("v\x1b[31m.raw", "v" * 300, "LIST", "LIST 7", "LIST -1", "v%d.raw 1 1000000000 1", "v%d.raw 1 4 0"),
    ],
)
def test_names_of_data_files_that_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    folder = tmp_path / "in"
    for place in (tmp_path, folder):
        (place / "v.raw").write_bytes(VOXELS.tobytes())
    (folder / "folder").mkdir()
    (folder / "sub").mkdir()
    (folder / "to_zero").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")
    with pytest.raises(DataError, match=r"a\.mhd: "):
        read_image(write(folder / "a.mhd", b"", name))


def test_a_link_to_a_data_file_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere" / "v.raw").write_bytes(VOXELS.tobytes())
    (tmp_path / "here" / "v.raw").symlink_to(tmp_path / "elsewhere" / "v.raw")
    require_itk_placement(write(tmp_path / "here" / "a.mhd", b"", "v.raw"))


def test_many_repeated_fields_take_linear_time(tmp_path: Path) -> None:
    other = "\n".join(f"Comment = {number}\nField{number} = 1\nField{number} = 2" for number in range(20_000))
    path = write(tmp_path / "a.mha", ElementSpacing=f"1 1 1\n{other}")
    start = time.process_time()
    with pytest.warns(DataWarning, match="Comment twice, '0' and '1'; the last, '19999', is used"):
        image = read_image(path)
    assert len(image.warnings) <= 6
    assert time.process_time() - start < 5
