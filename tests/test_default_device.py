"""Another default device of torch than the CPU is refused; the message names the remedy."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import nephi
from nephi.fields import StoredTransform, nephi_bytes


@pytest.fixture
def meta() -> Iterator[None]:
    """A default device other than the CPU that every installation of torch has."""
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    pair = nephi.phantoms.shapes_phantom(shape=(24, 24))
    nephi.write_image(pair.fixed, tmp_path / "f.nii.gz")
    nephi.export_transform(pair.transform, pair.fixed.grid, tmp_path / "w.nii.gz")
    affine = torch.eye(3, dtype=torch.float64)
    stored = StoredTransform(nephi.AffineTransform(affine), pair.fixed.grid, pair.moving.grid, (), {}, {})
    (tmp_path / "t.nephi").write_bytes(nephi_bytes(stored))
    return tmp_path


def test_another_default_device_is_refused(files: Path, meta: None) -> None:
    for call in (
        lambda: nephi.read_transform(files / "t.nephi"),
        lambda: nephi.read_image(files / "f.nii.gz"),
        lambda: nephi.read_transform(files / "w.nii.gz"),
        lambda: nephi.register(files / "f.nii.gz", files / "f.nii.gz"),
        lambda: nephi.Grid.from_spacing((4, 4), (1.0, 1.0)),
    ):
        with pytest.raises(
            nephi.UsageError, match=r"torch's default device, found meta; .* `with torch\.device\('cpu'\)"
        ):
            call()


def test_the_cpu_may_be_selected_in_a_block(files: Path, meta: None) -> None:
    with torch.device("cpu"):
        image = nephi.read_image(files / "f.nii.gz")
        warped = nephi.resample(image, image.grid, nephi.read_transform(files / "w.nii.gz"))
    assert warped.data.device.type == "cpu" and bool(warped.data.any())
