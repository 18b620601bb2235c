"""Images and grids of SimpleITK, files it reads (`.png`, `.tif`) and writes (`.mha`, `.mhd`, `.nrrd`, `.nhdr`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nephi.errors import DataError, NephiError
from nephi.geometry import Grid
from nephi.images import Image
from nephi.io.encoding import encoded, file_type
from nephi.io.files.atomic import replacing
from nephi.io.files.captured import LOCK, captured_output
from nephi.io.files.messages import damage_in, warn_of
from nephi.io.files.utf8_paths import readable_path, writable_path
from nephi.io.foreign import naming, reason_of, require_file, unreadable
from nephi.io.frames import flip_matrix, require_perpendicular
from nephi.io.voxels import Array


def simpleitk() -> Any:
    """Return the module SimpleITK, imported when first needed; untyped, as it is in some of its versions."""
    import SimpleITK

    return SimpleITK


@contextmanager
def itk_warnings() -> Iterator[list[str]]:
    """Collect what ITK, its logger and the libraries below it print in this block; one thread at a time.

    ITK has one logger a process. Threads that set and restore it out of order would leave it pointing to one that is
    gone, and the next warning would end the process.
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
    """Turn whatever SimpleITK raises while it reads a file, and whatever its libraries print, into errors and warnings.

    Raises `DataError` naming the file when ITK raises, or prints that the file is damaged; anything else it prints is
    a `DataWarning`. The list that is given holds the messages when the block has ended; the caller may look for some,
    and take those out that it raises an error of its own for.
    """
    messages: list[str] = []
    try:
        with itk_warnings() as messages:
            yield messages
    except NephiError:
        raise
    except Exception as error:
        reason = reason_of(error)
        damage = damage_in(messages)
        reason += f"; {damage}" if damage and damage not in reason else ""
        raise unreadable(path, what, reason) from error
    damage = damage_in(messages)
    if damage:
        raise unreadable(path, what, damage)
    warn_of(path, messages)


@contextmanager
def itk_writing(path: str | Path) -> Iterator[None]:
    """Turn what SimpleITK raises while it writes into a `DataError` naming `path`, what it prints into warnings."""
    try:
        with itk_warnings() as messages:
            yield
    except RuntimeError as error:
        raise DataError(f"{path}: could not be written ({reason_of(error)})") from error
    warn_of(path, messages)


def read_itk(path: Path, what: str) -> Any:
    """Return the SimpleITK image in a file; raise `DataError` naming it when it cannot be read."""
    sitk = simpleitk()
    require_file(path)
    with itk_reading(path, what), readable_path(path) as utf8:
        return sitk.ReadImage(str(utf8))


def require_dimension(foreign: Any, path: Path) -> None:
    """Raise `DataError` unless a SimpleITK image is 2-D or 3-D."""
    d = foreign.GetDimension()
    if d not in (2, 3):
        found = f"a 4-D series of {foreign.GetSize()[3]} volumes" if d == 4 else f"a {d}-D image"
        raise DataError(f"{path}: expected one 2-D or 3-D volume, found {found}; pick one, or save it as NIfTI")


class _Owner:
    """What a numpy array holds on to, so that the SimpleITK image whose memory it shows is not freed.

    (SimpleITK's own views do not, and they are read-only; this image is ours alone.)
    """

    def __init__(self, foreign: Any) -> None:
        sitk = simpleitk()
        self.foreign = foreign
        interface = dict(sitk.GetArrayViewFromImage(foreign).__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface


def shared_voxels(foreign: Any) -> Array:
    """Return the voxels `(z, y, x[, C])` of a SimpleITK image that nobody else uses, without a copy."""
    return np.asarray(_Owner(foreign))


def grid_of(foreign: Any, path: Path) -> Grid:
    """Return the grid, in RAS, of a SimpleITK image."""
    d = foreign.GetDimension()
    affine = np.eye(d + 1)
    affine[:d, :d] = np.reshape(foreign.GetDirection(), (d, d)) * foreign.GetSpacing()
    affine[:d, d] = foreign.GetOrigin()
    with naming(path):
        return Grid(foreign.GetSize(), flip_matrix(d) @ torch.from_numpy(affine))


def set_geometry(image: Any, grid: Grid) -> None:
    """Set origin (LPS), spacing and direction of a SimpleITK image to those of `grid`."""
    d = grid.dimension
    flip = flip_matrix(d)
    image.SetOrigin((flip[:d, :d] @ grid.origin).tolist())
    image.SetSpacing(grid.spacing.tolist())
    image.SetDirection((flip[:d, :d] @ grid.direction).reshape(-1).tolist())


def write_itk(foreign: Any, path: Path) -> None:
    """Write a SimpleITK image, compressed; raise `DataError` naming the file when ITK cannot."""
    sitk = simpleitk()
    with replacing(path) as temporary, writable_path(temporary) as utf8, itk_writing(path):
        sitk.WriteImage(foreign, str(utf8), useCompression=True, compressionLevel=1)


def write_scalar_itk(image: Image, path: Path) -> None:
    """Write a `.mha`, `.mhd`, `.nrrd` or `.nhdr` file in `image.voxel_type`; raise `DataError` for a sheared grid."""
    sitk = simpleitk()
    require_perpendicular(image.grid, path, f"the {path.suffix} format")
    voxels, grid = encoded(image.data, file_type(image.voxel_type), str(path)), image.grid
    if grid.plane is not None and grid.plane.step is not None:  # it was read from a file of three axes
        voxels, grid = voxels[..., None], grid.in_space()
    foreign = sitk.GetImageFromArray(voxels.T)
    set_geometry(foreign, grid)
    write_itk(foreign, path)
