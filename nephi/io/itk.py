"""SimpleITK: images and grids, reading of `.png` and `.tif`, writing of `.mha`, `.mhd`, `.nrrd` and `.nhdr`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nephi.errors import DataError, NephiError
from nephi.geometry import Grid
from nephi.geometry.frames import flip_matrix, require_perpendicular
from nephi.images import Image
from nephi.images.encoding import encode_voxels, file_type
from nephi.images.voxels import Array
from nephi.io.files.atomic import replacing
from nephi.io.files.captured import LOCK, captured_output
from nephi.io.files.input_files import error_reason, prefix_errors, require_file, unreadable
from nephi.io.files.messages import find_damage, warn_about
from nephi.io.files.utf8_paths import readable_path, writable_path


def simpleitk() -> Any:
    """Import SimpleITK and return the module; untyped, because some of its versions have no types."""
    import SimpleITK

    return SimpleITK


@contextmanager
def itk_warnings() -> Iterator[list[str]]:
    """Collect the messages of ITK, its logger and the libraries it uses; one thread at a time.

    ITK has one logger per process. Threads that replace and restore it out of order would leave a pointer to a deleted
    logger, and the next warning would crash the process.
    """
    logger: Any = simpleitk().LoggerBase

    class Collector(logger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lines: list[str] = []

        def DisplayText(self, text: str) -> None:
            self.lines.append(text)

        DisplayErrorText = DisplayWarningText = DisplayGenericOutputText = DisplayDebugText = DisplayText

    with LOCK:
        collector = Collector()
        previous = collector.SetAsGlobalITKLogger()
        printed: list[str] = []
        try:
            with captured_output() as printed:
                yield collector.lines
        finally:
            previous.SetAsGlobalITKLogger()
            collector.lines.extend(printed)


@contextmanager
def itk_reading(path: str | Path, what: str) -> Iterator[list[str]]:
    """Convert exceptions and messages of SimpleITK while it reads a file to errors and warnings.

    Raises `DataError` naming the file when ITK raises an exception, or prints that the file is damaged; any other
    message becomes a `DataWarning`. The yielded list has the messages when the block ends; the caller may remove those
    for which it raises its own error.
    """
    messages: list[str] = []
    try:
        with itk_warnings() as messages:
            yield messages
    except NephiError:
        raise
    except Exception as error:
        reason = error_reason(error)
        damage = find_damage(messages)
        reason += f"; {damage}" if damage and damage not in reason else ""
        raise unreadable(path, what, reason) from error
    damage = find_damage(messages)
    if damage:
        raise unreadable(path, what, damage)
    warn_about(path, messages)


@contextmanager
def itk_writing(path: str | Path) -> Iterator[None]:
    """Convert exceptions of SimpleITK while it writes to a `DataError` naming `path`, and its messages to warnings."""
    try:
        with itk_warnings() as messages:
            yield
    except RuntimeError as error:
        raise DataError(f"{path}: could not be written ({error_reason(error)})") from error
    warn_about(path, messages)


def read_itk(path: Path, what: str) -> Any:
    """Read a file as a SimpleITK image; raise `DataError` naming the file when it cannot be read."""
    sitk = simpleitk()
    require_file(path)
    with itk_reading(path, what), readable_path(path) as utf8:
        return sitk.ReadImage(str(utf8))


def require_dimension(image: Any, path: Path) -> None:
    """Raise `DataError` unless a SimpleITK image is 2-D or 3-D."""
    d = image.GetDimension()
    if d not in (2, 3):
        found = f"a 4-D series of {image.GetSize()[3]} volumes" if d == 4 else f"a {d}-D image"
        raise DataError(f"{path}: expected one 2-D or 3-D volume, found {found}; pick one, or save it as NIfTI")


class _ImageBuffer:
    """Array interface to the memory of a SimpleITK image that keeps the image alive, and is writable.

    SimpleITK's own views are read-only and do not keep the image alive. No other code may use the image.
    """

    def __init__(self, image: Any) -> None:
        sitk = simpleitk()
        self.image = image
        interface = dict(sitk.GetArrayViewFromImage(image).__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface


def shared_voxels(image: Any) -> Array:
    """Return the voxels `(z, y, x[, C])` of a SimpleITK image without a copy; no other code may use the image."""
    return np.asarray(_ImageBuffer(image))


def grid_of(image: Any, path: Path) -> Grid:
    """Return the grid, in RAS, of a SimpleITK image."""
    d = image.GetDimension()
    affine = np.eye(d + 1)
    affine[:d, :d] = np.reshape(image.GetDirection(), (d, d)) * image.GetSpacing()
    affine[:d, d] = image.GetOrigin()
    with prefix_errors(path):
        return Grid(image.GetSize(), flip_matrix(d) @ torch.from_numpy(affine))


def set_geometry(image: Any, grid: Grid) -> None:
    """Set origin (LPS), spacing and direction of a SimpleITK image to those of `grid`."""
    d = grid.dimension
    flip = flip_matrix(d)
    image.SetOrigin((flip[:d, :d] @ grid.origin).tolist())
    image.SetSpacing(grid.spacing.tolist())
    image.SetDirection((flip[:d, :d] @ grid.direction).reshape(-1).tolist())


def write_itk(image: Any, path: Path) -> None:
    """Write a SimpleITK image, compressed; raise `DataError` naming the file when ITK fails."""
    sitk = simpleitk()
    with replacing(path) as temporary, writable_path(temporary) as utf8, itk_writing(path):
        sitk.WriteImage(image, str(utf8), useCompression=True, compressionLevel=1)


def write_scalar_itk(image: Image, path: Path) -> None:
    """Write a `.mha`, `.mhd`, `.nrrd` or `.nhdr` file in `image.voxel_type`; raise `DataError` for a sheared grid."""
    sitk = simpleitk()
    require_perpendicular(image.grid, path, f"the {path.suffix} format")
    voxels, grid = encode_voxels(image.data, file_type(image.voxel_type), str(path)), image.grid
    if grid.plane is not None and grid.plane.step is not None:  # read from a file of three axes
        voxels, grid = voxels[..., None], grid.in_space()
    itk_image = sitk.GetImageFromArray(voxels.T)
    set_geometry(itk_image, grid)
    write_itk(itk_image, path)
