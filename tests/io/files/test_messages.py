"""Messages of libraries: damage is an error, others are warnings, and nothing is printed."""

import logging
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nephi.errors import DataError, DataWarning
from nephi.io import read_image
from nephi.io.files.messages import collect_python_warnings, find_damage, warn_about
from nephi.io.itk import itk_reading


@pytest.mark.parametrize(
    "text",
    [
        "Uncompress failed",
        "MetaImage: M_ReadElementsData: data not read completely",
        "libpng error: IDAT: CRC error",
        "TIFFFillStrip: Read error on strip 0; got 829 bytes, expected 600.",
        "PackBitsDecode: Warning, Discarding 2 bytes to avoid buffer overrun.",
        'TIFFReadDirectory: Warning, Bogus "StripByteCounts" field, ignoring and calculating from imagelength.',
        "HDF5-DIAG: Error detected in HDF5 (1.12.2) thread 0:",
        "Premature end of JPEG file",
    ],
)
def test_damage(text: str) -> None:
    assert find_damage(["fine", text, "more"]) == text


@pytest.mark.parametrize(
    "text",
    [
        "libpng warning: sCAL: CRC error",
        "TIFFReadDirectoryCheckOrder: Warning, Invalid TIFF directory; tags are not sorted in ascending order.",
        "WARNING: In /build/itkX.cxx, line 12\nX (0x1234abc): could not find the spacing",
    ],
)
def test_no_damage(text: str) -> None:
    assert find_damage([text]) is None


def test_warnings_are_one_line_each() -> None:
    lines = [
        "WARNING: In /build/itkX.cxx, line 12\nGDCMImageIO (0x1234abc): a\n  b\x1b[31m",
        "a b\\x1b[31m",
        *map(str, range(50)),
    ]
    with pytest.warns(DataWarning) as caught:
        warn_about("f.dcm", lines)
    assert [str(w.message) for w in caught] == ["f.dcm: a b\\x1b[31m", "f.dcm: 0", "f.dcm: 1", "f.dcm: 2", "f.dcm: 3"]


def test_printed_messages_become_errors_or_warnings(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(DataWarning, match="a.x: odd but fine"), itk_reading("a.x", "a file") as messages:
        os.write(1, b"odd but fine\n")
    assert messages == ["odd but fine"]
    match = r"a\.x: expected a file, could not read it \(Uncompress failed\)"
    with pytest.raises(DataError, match=match), itk_reading("a.x", "a file"):
        os.write(2, b"Uncompress failed\n")
    with pytest.raises(DataError, match=r"\(raised; zlib: bad data\)"), itk_reading("a.x", "a file"):
        os.write(2, b"zlib: bad data\n")
        raise RuntimeError("raised")
    with pytest.raises(DataError, match="mine"), itk_reading("a.x", "a file"):
        os.write(2, b"bad\n")
        raise DataError("mine")
    assert capfd.readouterr() == ("", "")


def test_warnings_of_python_libraries(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(DataWarning) as caught, collect_python_warnings("a.x", "library"):
        warnings.warn("odd\nvalue", stacklevel=1)
        warnings.warn(DataWarning("ours"), stacklevel=1)
        logging.getLogger("library.part").error("logged")
    assert [str(w.message) for w in caught] == ["a.x: odd value", "ours", "a.x: logged"]
    with pytest.raises(ValueError, match="x"), collect_python_warnings("a.x", "library"):
        logging.getLogger("library").error("logged")
        raise ValueError("x")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_damaged_pictures_print_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (20, 30)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(path))
    whole = path.read_bytes()
    refused = 0
    for position in range(0, len(whole), 17):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 16]) + whole[position + 1 :])
        with warnings.catch_warnings(record=True, action="always") as caught:
            try:
                read_image(path)
            except DataError:
                refused += 1
        assert all(str(warning.message).startswith(f"{path}: ") for warning in caught)
    assert refused
    assert capfd.readouterr() == ("", "")
