"""Missing, empty, truncated and invalid files: a one-line error that names the file, for every library."""

import gzip
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import SimpleITK as sitk
import torch

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.images import Image
from nephi.io import (
    read_displacement,
    read_foreign_transform,
    read_image,
    read_points,
    read_series,
    write_affine,
    write_displacement,
    write_displacement_itk,
    write_image,
    write_series,
)
from nephi.transforms import AffineTransform, DisplacementField

IMAGES = (".nii", ".nii.gz", ".mha", ".nrrd", ".png", ".tif")
FIELDS = (".nii", ".nii.gz", ".mha", ".nrrd")
AFFINES = (".tfm", ".txt", ".mat", ".h5", ".xfm")
Reader = Callable[[Path], object]
CASES: list[tuple[str, Reader, str]] = [
    *(("image", read_image, s) for s in IMAGES),
    *(("image", lambda path: list(read_series(path)), s) for s in (".nii", ".nii.gz")),
    *(("field", read_displacement, s) for s in FIELDS),
    *(("affine", read_foreign_transform, s) for s in AFFINES),
]


def write_file(kind: str, path: Path, grid: Grid) -> bytes:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(grid.shape, generator=generator) * 255
    match kind, path.suffix:
        case "image", ".png" | ".tif":
            sitk.WriteImage(sitk.GetImageFromArray(noise[0].byte().numpy()), str(path))
        case "image", _:
            write_image(Image(noise.short(), grid), path)
        case "field", ".mha" | ".nrrd":
            write_displacement_itk(path, DisplacementField(noise[..., None].expand(*grid.shape, 3), grid))
        case "field", _:
            write_displacement(path, lambda x: x + x.sin(), grid)
        case "affine", ".xfm":
            sitk.WriteTransform(sitk.AffineTransform(3), str(path))
        case _:
            matrix = torch.eye(4, dtype=torch.float64)
            matrix[:3] += torch.rand(3, 4, generator=generator, dtype=torch.float64) / 5
            write_affine(path, AffineTransform(matrix))
    return path.read_bytes()


def error_message(read: Reader, path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert "(0x" not in message  # addresses of ITK's objects
    return message.removeprefix(str(path))


@pytest.mark.parametrize(("kind", "read", "suffix"), CASES)
def test_errors_are_one_line(tmp_path: Path, grid_3d: Grid, kind: str, read: Reader, suffix: str) -> None:
    path = tmp_path / f"damaged{suffix}"
    whole = write_file(kind, path, grid_3d)
    read(path)
    path.write_bytes(b"")
    assert "the file is empty" in error_message(read, path)
    path.write_bytes(random.Random(0).randbytes(700))
    error_message(read, path)
    path.write_bytes(b"hello, world\n" * 100)
    error_message(read, path)
    # The end of a small TIFF has tags that libtiff does not need.
    for part in (0.1, 0.5) if suffix == ".tif" else (0.1, 0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * part)])
        error_message(read, path)
    path.unlink()
    assert "no such file" in error_message(read, path)


@pytest.mark.parametrize(
    ("kind", "read"),
    [("image", read_image), ("image", lambda path: list(read_series(path))), ("field", read_displacement)],
)
def test_the_checksum_of_gzip_is_verified(tmp_path: Path, grid_3d: Grid, kind: str, read: Reader) -> None:
    """All voxels are present, but the checksum at the end differs."""
    path = tmp_path / "a.nii.gz"
    large = Grid((30, 31, 32), grid_3d.affine)  # large, so that the end is not read with the header
    whole = bytearray(write_file(kind, path, large))
    whole[-6] ^= 1
    path.write_bytes(whole)
    assert "CRC check failed" in error_message(read, path)
    path.write_bytes(whole[:-4])
    error_message(read, path)


def test_the_checksum_of_a_series_is_verified(tmp_path: Path, grid_3d: Grid) -> None:
    path = tmp_path / "a.nii.gz"
    write_series(path, [Image(torch.ones(grid_3d.shape), grid_3d)] * 3, 3)
    whole = bytearray(path.read_bytes())
    whole[-6] ^= 1
    path.write_bytes(whole)
    assert "CRC check failed" in error_message(lambda p: list(read_series(p)), path)


def test_errors_state_the_missing_bytes(tmp_path: Path, grid_3d: Grid) -> None:
    for kind, read, name in (
        ("image", read_image, "a.nii"),
        ("image", read_image, "b.nii.gz"),
        ("affine", read_foreign_transform, "a.h5"),
    ):
        path = tmp_path / name
        whole = write_file(kind, path, grid_3d)
        shorter = gzip.compress(gzip.decompress(whole)[:-10]) if path.suffix == ".gz" else whole[:-10]
        path.write_bytes(shorter)
        counts = [int(word) for word in re.findall(r"\d+", error_message(read, path).split(": ")[1])]
        assert counts[0] - counts[1] == 10


def test_other_files_than_hdf5_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"\x00" * 100)
    assert "expected an HDF5 file" in error_message(read_foreign_transform, tmp_path / "a.h5")


def test_header_files_without_their_voxels(tmp_path: Path, grid_3d: Grid) -> None:
    for suffix, companion in ((".mhd", ".zraw"), (".nhdr", ".raw.gz")):
        write_image(Image(torch.ones(grid_3d.shape), grid_3d), tmp_path / f"a{suffix}")
        (tmp_path / f"a{companion}").unlink()
        error_message(read_image, tmp_path / f"a{suffix}")


def test_names_that_do_not_exist_print_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # HDF5 prints a page about files that it cannot open.
    for suffix in AFFINES:
        error_message(read_foreign_transform, tmp_path / f"a{suffix}")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("length", [4, 30, 63, 2000])
def test_cut_hdf5_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str], length: int) -> None:
    path = tmp_path / "a.h5"
    write_affine(path, AffineTransform.identity(3))
    path.write_bytes(path.read_bytes()[:length])
    error_message(read_foreign_transform, path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("read", [read_image, read_displacement, read_foreign_transform])
def test_errors_about_unknown_formats_list_the_supported_ones(tmp_path: Path, read: Reader) -> None:
    (tmp_path / "a.xyz").write_text("x")
    message = error_message(read, tmp_path / "a.xyz")
    assert ".nii.gz" in message
    assert "found .xyz" in message


@pytest.mark.parametrize("read", [read_displacement, read_points])
def test_a_folder_is_refused(tmp_path: Path, read: Reader) -> None:
    (tmp_path / "a.nii").mkdir()
    assert "found a folder" in error_message(read, tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("array", "is_vector", "found"),
    [((4, 5, 3), True, "found 3"), ((4, 5, 6, 3), True, "found 3"), ((3, 4, 5, 6), False, "4-D series of 3 volumes")],
)
def test_vectors_and_series_of_itk_are_refused(
    tmp_path: Path, array: tuple[int, ...], is_vector: bool, found: str
) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(torch.rand(array).numpy(), isVector=is_vector), str(tmp_path / "a.mha"))
    assert found in error_message(read_image, tmp_path / "a.mha")


def test_complex_and_colour_images_of_itk_are_refused(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.Image([4, 5], sitk.sitkComplexFloat32), str(tmp_path / "a.nrrd"))
    assert "found complex" in error_message(read_image, tmp_path / "a.nrrd")
    red = sitk.Image([4, 5], sitk.sitkVectorUInt8, 3)
    red[1, 2] = (200, 0, 0)
    sitk.WriteImage(red, str(tmp_path / "a.png"))
    assert "found 3 colours" in error_message(read_image, tmp_path / "a.png")


def test_a_tiff_of_several_pages_is_refused(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.Image([4, 5, 6], sitk.sitkUInt8), str(tmp_path / "a.tif"))
    assert "6 pages" in error_message(read_image, tmp_path / "a.tif")
