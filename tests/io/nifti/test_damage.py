"""Invalid fields in headers of NIfTI files: errors or warnings, before memory is allocated."""

import gzip
import os
import resource
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nephi.errors import DataError, DataWarning
from nephi.io import image_grid, read_displacement, read_grid, read_image, read_series
from tests.io.nifti.test_image import save, voxels


def dim(*values: int) -> list[int]:
    return [*values, *[1] * (8 - len(values))]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dim": dim(3, 4, 5, 0)}, r"axes of at least one voxel, found \(4, 5, 0\)"),
        ({"dim": dim(3, -4, 5, 6)}, r"axes of at least one voxel, found \(-4, 5, 6\)"),
        ({"dim": dim(0, 4, 5, 6)}, "expected 1 to 7 axes"),
        ({"dim": dim(-3, 4, 5, 6)}, "expected 1 to 7 axes"),
        ({"dim": dim(3, 32767, 32767, 1000)}, r"expected \d+ bytes of voxels, found"),
        ({"dim": dim(7, *[32767] * 7)}, "expected one real number|found an array of shape"),
        ({"vox_offset": 100}, "expected a vox_offset behind the header of 348 bytes, found 100"),
        ({"vox_offset": -352}, "expected a vox_offset behind the header of 348 bytes, found -352"),
        ({"vox_offset": np.nan}, "expected a vox_offset behind the header of 348 bytes, found nan"),
        ({"vox_offset": np.inf}, "expected a vox_offset behind the header of 348 bytes, found inf"),
        ({"vox_offset": 1e30}, "expected \\d+ bytes of voxels, found"),
        ({"vox_offset": 5000}, "expected \\d+ bytes of voxels, found"),
        ({"datatype": 1}, r"expected a voxel type \(datatype\) of 8 to 64 bits a value, or RGB, found 1;"),
        ({"datatype": 12345}, r"expected a voxel type \(datatype\) of 8 to 64 bits a value, or RGB, found 12345"),
        ({"magic": b"xyz"}, "expected a NIfTI header, could not read it"),
        ({"magic": b"ni1"}, r"whose voxels are in another file \(\.img\)"),
        ({"magic": b"", "sizeof_hdr": 17}, "could not read it: found other contents"),
    ],
)
def test_invalid_fields_are_refused(tmp_path: Path, suffix: str, fields: dict[str, Any], message: str) -> None:
    path = save(tmp_path / f"a{suffix}", voxels(4, 5, 6), **fields)
    for read in (read_image, lambda p: list(read_series(p)), read_displacement):
        with pytest.raises(DataError, match=message if read is read_image else None) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bitpix": 64}, r"expected 16 bits per voxel \(bitpix\) for the type int16, found 64; the type is used"),
        ({"sizeof_hdr": 1234}, "expected a sizeof_hdr of 348, found 1234"),
        ({"vox_offset": 0}, "found 0; 352 is used"),
        ({"scl_slope": np.inf}, "expected a finite scl_slope, found inf"),
        ({"scl_slope": 1, "scl_inter": np.nan}, "expected a finite scl_inter, found nan; 0 is used"),
        ({"scl_slope": 0, "scl_inter": 7}, "scl_inter of 7 without a slope"),
    ],
)
def test_contradicting_fields_give_a_warning(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    path = save(tmp_path / "a.nii", voxels(4, 5, 6), **fields)
    with pytest.warns(DataWarning, match=message) as caught:
        image = read_image(path)
    np.testing.assert_array_equal(image.data.numpy(), voxels(4, 5, 6))
    assert image.warnings == tuple(str(warning.message) for warning in caught)


def test_voxels_directly_behind_the_header_give_a_warning(tmp_path: Path) -> None:
    """Not allowed in a single file, but written by some programs, even if the voxels start four bytes later."""
    path = save(tmp_path / "a.nii", voxels(4, 5, 6), vox_offset=348)
    contents = path.read_bytes()
    path.write_bytes(contents[:348] + contents[-2 * 4 * 5 * 6 :])
    with pytest.warns(DataWarning, match=r"a\.nii: expected a vox_offset of 352 or more, found 348; used as in ITK"):
        image = read_image(path)
    np.testing.assert_array_equal(image.data.numpy(), voxels(4, 5, 6))


def test_invalid_extensions_are_ignored(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", voxels(4, 5, 6))
    contents = path.read_bytes()
    for length in (b"\xff\xff\xff\x7f", b"\x00\x00\x00\x00", b"\x01\x00\x00\x80"):
        extension = b"\x01\x00\x00\x00" + length + b"\x06\x00\x00\x00" + bytes(8)
        header = bytearray(contents[:348])
        header[108:112] = np.float32(348 + len(extension)).tobytes()
        path.write_bytes(bytes(header) + extension + contents[352:])
        np.testing.assert_array_equal(read_image(path).data.numpy(), voxels(4, 5, 6))


def test_no_memory_is_allocated_for_more_voxels_than_the_file_has(tmp_path: Path) -> None:
    """A compressed file of 400 bytes whose header states a terabyte, and a field of 1 GB in 4 kB."""
    huge = save(tmp_path / "a.nii.gz", voxels(2, 2, 2), dim=dim(3, 32767, 32767, 1000))
    field = save(tmp_path / "b.nii.gz", np.zeros((2, 2, 2, 1, 3), np.float32), intent_code=1007)
    contents = bytearray(gzip.decompress(field.read_bytes()))
    contents[40:56] = np.array(dim(5, 500, 500, 400, 1, 3), "<i2").tobytes()
    field.write_bytes(gzip.compress(contents))
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, hard))
    try:
        for read, path in ((read_image, huge), (lambda p: list(read_series(p)), huge), (read_displacement, field)):
            with pytest.raises(DataError, match=r"expected .* bytes of voxels, found at most"):
                read(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_suffix_and_compression_may_differ(tmp_path: Path) -> None:
    path = save(tmp_path / "plain.nii", voxels(4, 5, 6))
    plain, packed = tmp_path / "a.nii.gz", tmp_path / "b.nii"
    plain.write_bytes(path.read_bytes())
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for odd, message in ((plain, "found an uncompressed one"), (packed, r"found a compressed \(gzip\) one")):
        with pytest.warns(DataWarning, match=f"{odd.name}: .*{message}"):
            np.testing.assert_array_equal(read_image(odd).data.numpy(), voxels(4, 5, 6))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["pipe", "pipe.nii"])
def test_pipes_carry_nifti(tmp_path: Path, packed: bool, name: str) -> None:
    contents = save(tmp_path / ("a.nii.gz" if packed else "a.nii"), voxels(40, 50, 60)).read_bytes()
    for read in (read_image, lambda p: next(iter(read_series(p)))):
        pipe = tmp_path / name
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_bytes, args=(contents,))
        writer.start()
        np.testing.assert_array_equal(read(pipe).data.numpy(), voxels(40, 50, 60))
        writer.join()
        pipe.unlink()


def test_descriptors_carry_nifti(tmp_path: Path) -> None:
    """As for `<(...)` in bash."""
    contents = save(tmp_path / "a.nii.gz", voxels(4, 5, 6)).read_bytes()
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as stream:
        stream.write(contents)
    np.testing.assert_array_equal(read_image(f"/dev/fd/{reader}").data.numpy(), voxels(4, 5, 6))
    os.close(reader)


def test_a_pipe_without_data_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nephi.io.files.gzipped.OPEN_TIMEOUT", 0.1)
    for name in ("pipe", "pipe.nii", "pipe.nii.gz"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(DataError, match=f"{name}: expected an image from this pipe, received nothing"):
            read_image(tmp_path / name)


def test_other_contents_of_a_pipe_are_refused_at_once(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"ObjectType = Image\n")  # and the pipe stays open
    with pytest.raises(DataError, match="expected NIfTI from this pipe, gzipped or not, found other contents"):
        read_image(f"/dev/fd/{reader}")
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("name", ["pipe.mha", "pipe.nrrd", "pipe.png"])
def test_pipes_of_other_formats_are_refused(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="found a pipe"):
        read_image(tmp_path / name)


def test_devices_and_folders_are_refused(tmp_path: Path) -> None:
    for name in ("/dev/null", "/dev/zero"):
        with pytest.raises(DataError, match=f"{name}: expected a file, found a device"):
            read_image(name)
    with pytest.raises(DataError, match=r"cannot be opened .*too long"):
        read_image(tmp_path / ("a" * 300 + ".nii"))


def test_a_slow_writer_is_awaited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("nephi.io.files.gzipped.OPEN_TIMEOUT", 0.1)
    contents = save(tmp_path / "a.nii", voxels(4, 5, 6)).read_bytes()
    reader, writer = os.pipe()

    def compute() -> None:
        time.sleep(0.5)
        with os.fdopen(writer, "wb") as stream:
            stream.write(contents)

    thread = threading.Thread(target=compute)
    thread.start()
    np.testing.assert_array_equal(read_image(f"/dev/fd/{reader}").data.numpy(), voxels(4, 5, 6))
    thread.join()
    os.close(reader)


def test_a_writer_without_data_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nephi.io.files.gzipped.DATA_TIMEOUT", 0.1)
    reader, writer = os.pipe()
    with pytest.raises(DataError, match=r"received nothing within 0\.1 seconds"):
        read_image(f"/dev/fd/{reader}")
    os.close(reader)
    os.close(writer)


def test_the_grid_of_an_image_in_a_pipe(tmp_path: Path) -> None:
    contents = save(tmp_path / "a.nii", voxels(4, 5, 6)).read_bytes()
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as stream:
        stream.write(contents)
    assert image_grid(f"/dev/fd/{reader}").shape == (4, 5, 6)
    os.close(reader)


@pytest.mark.parametrize("suffix", ["", ".dcm", ".png", ".hdr", ".img", ".mha", ".mgz"])
def test_names_that_are_too_long(tmp_path: Path, suffix: str) -> None:
    for read in (read_image, read_grid, read_series):
        with pytest.raises(DataError, match=r"cannot be opened .*too long"):
            read(tmp_path / ("a" * 300 + suffix))


def test_a_pair_whose_other_name_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 250 + ".img")
    path.write_bytes(bytes(100))
    with pytest.raises(DataError, match="expected its header"):
        read_image(path)
