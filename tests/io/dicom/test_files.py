"""DICOM files in folders: damaged, linked, compressed, of other kinds."""

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from nephi.errors import DataError, DataWarning
from nephi.io import image_grid, read_image

from .dicom_writer import base, is_at, ramp, save, write_enhanced, write_slices

pytestmark = pytest.mark.filterwarnings("error::nephi.errors.DataWarning")  # tests that expect a warning name it

SYNTAXES = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
@pytest.mark.parametrize("signed", [True, False])
def test_transfer_syntaxes(tmp_path: Path, syntax: str, signed: bool) -> None:
    write_slices(tmp_path / "ct", ramp(), syntax=syntax, signed=signed, intercept=0 if signed else -1024, bits=12)
    image = read_image(tmp_path / "ct")
    assert np.array_equal(image.data.numpy(), ramp())
    assert is_at(image.grid)


def test_bytes_as_words_of_the_other_order(tmp_path: Path) -> None:
    """In big-endian OW, each pair of bytes is swapped; a frame may end inside of a pair."""
    values = ramp((7, 5, 6)) % 200

    def swap(data: Dataset, k: int) -> None:
        padded = np.frombuffer(data.PixelData + b"\0", np.uint8)
        data.PixelData = padded.reshape(-1, 2)[:, ::-1].tobytes()

    write_slices(tmp_path / "ct", values, syntax=ExplicitVRBigEndian, signed=False, allocated=8, change=swap)
    assert np.array_equal(read_image(tmp_path / "ct").data.numpy(), values)


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
@pytest.mark.parametrize("kind", ["series", "enhanced"])
def test_compressed_by_gdcm(tmp_path: Path, compressor: str, dtype: str, kind: str) -> None:
    """Lossless JPEG and JPEG 2000, each slice with a different slope."""
    stored = ((np.arange(30 * 40 * 3) * 7) % 250).reshape(3, 30, 40).astype(dtype)
    if dtype != "uint8":
        stored = (stored * 13 - (1000 if dtype == "int16" else 0)).astype(dtype)
    slopes = [1.0, 0.5, 0.25]
    values = stored.transpose(2, 1, 0) * slopes
    allocated = stored.dtype.itemsize * 8

    def encode(k: int) -> tuple[str, bytes]:
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(tmp_path / "frame.dcm"))
        writer.UseCompressionOn()
        writer.SetCompressor(compressor)
        writer.Execute(sitk.GetImageFromArray(stored[k : k + 1]))
        written = pydicom.dcmread(tmp_path / "frame.dcm")
        assert written.file_meta.TransferSyntaxUID.is_compressed
        frame = next(pydicom.encaps.generate_frames(written.PixelData, number_of_frames=1))
        return written.file_meta.TransferSyntaxUID, frame

    def compress(data: Dataset, frames: list[int]) -> None:
        encoded = [encode(k) for k in frames]
        data.file_meta.TransferSyntaxUID = encoded[0][0]
        data.BitsAllocated = data.BitsStored = allocated
        data.HighBit, data.PixelRepresentation = allocated - 1, int(dtype == "int16")
        data.PixelData = pydicom.encaps.encapsulate([frame for _, frame in encoded])
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True

    folder = tmp_path / "ct"
    if kind == "series":
        write_slices(folder, values, slope=slopes, change=lambda data, k: compress(data, [k]))
    else:
        folder.mkdir()
        write_enhanced(
            folder / "x.dcm", values, order=[2, 0, 1], slope=slopes, change=lambda data: compress(data, [2, 0, 1])
        )
    image = read_image(folder)
    assert np.array_equal(image.data.numpy(), values)
    assert is_at(image.grid)


def test_jpeg_ls(tmp_path: Path) -> None:
    """A frame of CharLS: `(np.arange(24) * 7) % 250 * 13` in four rows."""
    frame = bytes.fromhex(
        "ffd8fff7000b0c0004000601011100ffda00080101000000008ea7559ac4ea000088765a2c96076000044572b154a85a12129948a2502c80ffd9"
    )

    def change(data: Dataset, k: int) -> None:
        data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.80"
        data.PixelData = pydicom.encaps.encapsulate([frame])
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True

    values = np.zeros((6, 4, 2))
    image = read_image(write_slices(tmp_path / "ct", values, signed=False, bits=12, change=change))
    expected = ((np.arange(24) * 7) % 250 * 13).reshape(4, 6).T
    assert np.array_equal(image.data.numpy(), np.stack([expected, expected], axis=-1))


def rle_series(folder: Path) -> Path:
    return write_slices(folder, ramp(), syntax=RLELossless)


def edit(file: Path, change: Callable[[Dataset], Any]) -> None:
    data = pydicom.dcmread(file)
    change(data)
    data.save_as(file)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: setattr(data, "Rows", 60_000),
        lambda data: setattr(data, "Rows", 6),
        lambda data: setattr(data, "NumberOfFrames", 1000),
        lambda data: setattr(data.file_meta, "TransferSyntaxUID", "1.2.840.10008.1.2.4.90"),
        lambda data: setattr(data.file_meta, "TransferSyntaxUID", "1.2.840.10008.1.2.4.100"),
        lambda data: setattr(data, "PixelData", pydicom.encaps.encapsulate([b"\0" * 70])),
    ],
    ids=["many rows", "another row", "many frames", "JPEG 2000", "MPEG-2", "no segments"],
)
def test_damaged_compressed_pixels(tmp_path: Path, change: Callable[[Dataset], Any]) -> None:
    edit(rle_series(tmp_path / "ct") / "002.dcm", change)
    with pytest.raises(DataError, match=r"expected .*002.dcm|002.dcm: expected "):
        read_image(tmp_path / "ct")


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
@pytest.mark.parametrize("part", [0.05, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("name", ["{:03d}.dcm", "IM{:03d}"])
def test_a_file_that_ends_early(tmp_path: Path, syntax: str, part: float, name: str) -> None:
    """The last slice: its absence would not be detected by the spacing."""
    folder = write_slices(tmp_path / "ct", ramp((30, 40, 3)), syntax=syntax, name=name)
    file = folder / name.format(2)
    size = file.stat().st_size
    with open(file, "r+b") as stream:
        stream.truncate(140 + int(part * (size - 141)))
    with pytest.raises(DataError, match=f"{file.name}: "):
        read_image(folder)


@pytest.mark.parametrize("content", [b"", b"not DICOM"])
def test_a_slice_without_content(tmp_path: Path, content: bytes) -> None:
    (write_slices(tmp_path / "ct", ramp()) / "005.dcm").write_bytes(content)
    with pytest.raises(
        DataError, match=r"005.dcm: expected a complete DICOM slice, found (an empty file|other contents)"
    ):
        read_image(tmp_path / "ct")


def test_a_header_without_pixels(tmp_path: Path) -> None:
    def change(data: Dataset, k: int) -> None:
        if k == 5:
            del data.PixelData

    with pytest.raises(DataError, match=r"005.dcm: expected a complete DICOM slice, found a header without pixel data"):
        read_image(write_slices(tmp_path / "ct", ramp(), change=change))


@pytest.mark.parametrize(("keyword", "value"), [("Rows", 60_000), ("Rows", 0), ("NumberOfFrames", 2**31 - 1)])
def test_more_pixels_than_the_file_has(tmp_path: Path, keyword: str, value: int) -> None:
    write_slices(tmp_path / "ct", ramp(), change=lambda data, k: setattr(data, keyword, value))
    with pytest.raises(DataError, match=r"000.dcm: expected "):
        read_image(tmp_path / "ct")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_more_frames_than_the_header_states(tmp_path: Path, syntax: str) -> None:
    def change(data: Dataset, k: int) -> None:
        if syntax == RLELossless:
            data.NumberOfFrames, data.PixelData = 2, data.PixelData * 2
        else:
            data.Rows = 2

    folder = write_slices(tmp_path / "ct", ramp((7, 4, 2)), syntax=syntax, change=change)
    if syntax == RLELossless:
        for file in folder.iterdir():
            edit(file, lambda data: setattr(data, "NumberOfFrames", 1))
    with pytest.raises(DataError, match=r"000.dcm: expected .*found (more|\d+); .*NumberOfFrames"):
        read_image(folder)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("stored_signed", [True, False])
@pytest.mark.parametrize("bits", [12, 16])
def test_the_header_states_whether_a_stream_is_signed(
    tmp_path: Path, signed: bool, stored_signed: bool, bits: int
) -> None:
    """JPEG 2000 states a sign as well, which is unreliable in files of scanners."""
    values = (np.arange(80) * 47 - 1800).reshape(8, 10)
    unsigned = values & ((1 << bits) - 1)
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(tmp_path / "frame.dcm"))
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG2000")
    writer.Execute(sitk.GetImageFromArray(values.astype("int16") if stored_signed else unsigned.astype("uint16")))
    written = pydicom.dcmread(tmp_path / "frame.dcm")

    def change(data: Dataset, k: int) -> None:
        data.file_meta.TransferSyntaxUID = written.file_meta.TransferSyntaxUID
        data.PixelData = written.PixelData
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True

    image = read_image(write_slices(tmp_path / "ct", np.zeros((10, 8, 2)), signed=signed, bits=bits, change=change))
    assert np.array_equal(image.data[..., 1].numpy().T, values if signed else unsigned)


@pytest.mark.parametrize("length", [0x7FFFFFF0, 0xFFFFFFFE, 0xFFFFFFFF])
@pytest.mark.parametrize("syntax", SYNTAXES[:4], ids=lambda uid: uid.name)
@pytest.mark.filterwarnings("default::nephi.errors.DataWarning")
def test_lengths_are_bounded_by_the_file(tmp_path: Path, syntax: str, length: int) -> None:
    """For damage in any element of the header."""
    file = tmp_path / "x.dcm"

    def spoil(tag: int) -> None:
        write_slices(tmp_path, ramp((60, 70, 1)), syntax=ExplicitVRLittleEndian, name="x.dcm")
        data = pydicom.dcmread(file)
        data.file_meta.TransferSyntaxUID = syntax
        content = bytearray(file.read_bytes())
        found = content.find(tag.to_bytes(4, "little")[2:] + tag.to_bytes(4, "little")[:2], 132)
        content[found + 4 : found + 12] = b"UN\0\0" + length.to_bytes(4, "little")
        file.write_bytes(content)

    for tag in (0x00020010, 0x00080016, 0x0020000E, 0x00200032, 0x00280010, 0x00281053, 0x7FE00010):
        spoil(tag)
        tracemalloc.start()
        with pytest.raises(DataError, match=r"x.dcm: "):
            read_image(file)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
        tracemalloc.stop()


def test_a_deflated_file_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nephi.io.dicom.file.INFLATED_LIMIT", 10_000)
    write_slices(tmp_path, np.zeros((200, 200, 1)), syntax=DeflatedExplicitVRLittleEndian, name="x.dcm")
    with pytest.raises(DataError, match=r"x.dcm: expected at most 10000 bytes"):
        read_image(tmp_path / "x.dcm")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
@pytest.mark.parametrize("name", ["pipe", "999.dcm"])
def test_a_pipe_among_the_slices(tmp_path: Path, name: str) -> None:
    os.mkfifo(write_slices(tmp_path / "ct", ramp()) / name)
    with pytest.raises(DataError, match=rf"{name}: expected a regular file, found a device or a pipe"):
        read_image(tmp_path / "ct")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device on this system")
def test_a_link_to_a_device(tmp_path: Path) -> None:
    (write_slices(tmp_path / "ct", ramp()) / "999.dcm").symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"999.dcm: expected a regular file"):
        read_image(tmp_path / "ct")
    with pytest.raises(DataError, match=r"999.dcm: expected a"):
        read_image(tmp_path / "ct" / "999.dcm")


def test_links(tmp_path: Path) -> None:
    """As in DataLad and git-annex: links to a file, or to one that was not fetched."""
    folder = write_slices(tmp_path / "ct", ramp())
    (folder / "005.dcm").rename(tmp_path / "kept")
    (folder / "005.dcm").symlink_to(tmp_path / "kept")
    assert np.array_equal(read_image(folder).data.numpy(), ramp())
    (tmp_path / "kept").unlink()
    with pytest.raises(DataError, match=r"005.dcm: expected a file, found a link to a missing file; restore"):
        read_image(folder)


def test_other_files_in_a_folder_are_skipped(tmp_path: Path) -> None:
    folder = write_slices(tmp_path / "ct", ramp())
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf" * 900)
    (folder / ".DS_Store").write_bytes(bytes(600))
    (folder / "._000.dcm").write_bytes(b"\0\x05\x16\x07" * 1024)
    (folder / "notes.txt").write_text("two slices were doubled")
    (folder / "empty").touch()
    (folder / "more.dcm").mkdir()
    for name, storage in (("DICOMDIR", "1.2.840.10008.1.3.10"), ("report.dcm", "1.2.840.10008.5.1.4.1.1.88.11")):
        data = base(1, 1, storage)
        del data.Rows, data.Columns, data.SeriesInstanceUID
        save(data, folder / name)
    image = read_image(folder)
    assert np.array_equal(image.data.numpy(), ramp())
    with pytest.raises(DataError, match="DICOMDIR: expected an image, found a DICOMDIR"):
        read_image(folder / "DICOMDIR")
    with pytest.raises(DataError, match=r"report.dcm: expected a DICOM image, found an object without pixels \(Basic"):
        read_image(folder / "report.dcm")


def test_files_without_a_preamble(tmp_path: Path) -> None:
    folder = write_slices(tmp_path / "ct", ramp())
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[132:])
    image = read_image(folder)
    assert np.array_equal(image.data.numpy(), ramp())


def test_another_file_named_dcm(tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_text("a text " * 100)
    with pytest.raises(DataError, match=r"x.dcm: expected a DICOM file, found other contents"):
        read_image(tmp_path / "x.dcm")


@pytest.mark.parametrize("name", ["missing.dcm", "missing"])
def test_no_such_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"{name}: no such file or folder"):
        read_image(tmp_path / name)


def test_a_grid_is_read_without_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nephi.io.dicom.image.read_values", None)
    assert is_at(image_grid(write_slices(tmp_path / "scan.mha", ramp())))


def test_slices_in_a_folder_below(tmp_path: Path) -> None:
    write_slices(tmp_path / "scan" / "series1", ramp())
    with pytest.raises(DataError, match=r"found none and 1 folders \(series1\); give the folder that holds the slices"):
        read_image(tmp_path / "scan")


def test_a_uid_for_every_file(tmp_path: Path) -> None:
    def change(data: Dataset, k: int) -> None:
        data.SeriesInstanceUID = f"1.2.3.{k}"

    with pytest.raises(DataError, match=r"found 6 .*every file has a different SeriesInstanceUID"):
        read_image(write_slices(tmp_path / "ct", ramp(), change=change))


def test_pydicom_warnings_are_passed_on(tmp_path: Path) -> None:
    """Once for all files."""

    def change(data: Dataset, k: int) -> None:
        data["SeriesInstanceUID"]._value = "1.2.x.3"

    write_slices(tmp_path / "ct", ramp(), change=change)
    with pytest.warns(
        DataWarning, match=r"000.dcm \(and 5 more files\): pydicom: Invalid value for VR UI: '1.2.x.3'.$"
    ) as caught:
        image = read_image(tmp_path / "ct")
    assert len(caught) == len(image.warnings) == 1
    assert is_at(image.grid)


@pytest.mark.parametrize("storage", ["1.3.12.2.1107.5.9.1", "1.2.840.10008.5.1.4.1.1.999", ""])
def test_an_unknown_kind_of_object_with_pixels_is_an_image(tmp_path: Path, storage: str) -> None:
    """SOP classes of vendors, SOP classes newer than pydicom, and headers without one."""

    def renamed(data: Dataset, _: int) -> None:
        if storage:
            data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = storage
        else:
            del data.SOPClassUID

    folder = write_slices(tmp_path / "ct", ramp(), change=renamed)
    assert np.array_equal(read_image(folder).data.numpy(), ramp())
