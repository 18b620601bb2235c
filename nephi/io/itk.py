"""Images and grids of SimpleITK, and files it reads and writes (`.mha`, `.mhd`, `.nrrd`, `.nhdr`, pixels of `.png`)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.images import Image
from nephi.io.atomic import replacing
from nephi.io.encoding import encoded, file_type
from nephi.io.foreign import naming, reading, reason_of, require_file
from nephi.io.frames import flip_matrix, require_perpendicular
from nephi.io.voxels import Array, held_voxels

# ITK has one logger a process. Threads that set and restore it out of order leave it pointing to one that is gone:
# the next warning then ends the process (seen with four threads). SimpleITK holds the interpreter's lock while it
# reads, so that nothing is slower for this one.
ITK_LOGGER = threading.RLock()


def simpleitk() -> Any:
    """Return the module SimpleITK, imported when first needed; untyped, as it is in some of its versions."""
    import SimpleITK

    return SimpleITK


@contextmanager
def itk_warnings() -> Iterator[list[str]]:
    """Collect what ITK would print to stderr, and restore its printing afterwards; one thread at a time."""
    logger: Any = simpleitk().LoggerBase

    class Collector(logger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lines: list[str] = []

        def DisplayText(self, text: str) -> None:
            self.lines.append(text)

        DisplayErrorText = DisplayWarningText = DisplayGenericOutputText = DisplayDebugText = DisplayText

    with ITK_LOGGER:
        collector = Collector()
        previous = collector.SetAsGlobalITKLogger()
        try:
            yield collector.lines
        finally:
            previous.SetAsGlobalITKLogger()


def read_itk(path: Path, what: str) -> Any:
    """Return the SimpleITK image in a file; raise `DataError` naming it when it cannot be read."""
    sitk = simpleitk()
    require_file(path)
    with reading(path, what), itk_warnings():
        return sitk.ReadImage(str(path))


def read_scalar_itk(path: Path) -> Image:
    """Read a 2-D or 3-D file of one number a voxel."""
    return image_of(read_itk(path, f"an image in {path.suffix} format"), path)


def image_of(foreign: Any, path: Path) -> Image:
    """Return a SimpleITK image as ours, sharing its memory; raise `DataError` naming `path` if it is no scalar one."""
    require_dimension(foreign, path)
    components = foreign.GetNumberOfComponentsPerPixel()
    kind = foreign.GetPixelIDTypeAsString()
    if components > 1 or "complex" in kind or "vector" in kind:
        found = f"{components} (a colour or vector image)" if components > 1 else kind
        raise DataError(f"{path}: expected one real number a voxel, found {found}; extract one channel first")
    grid = grid_of(foreign, path)
    with naming(path):
        data, stored_type = held_voxels(shared_voxels(foreign).T)
    return Image(data, grid, stored_type=stored_type, name=str(path))


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


def place(foreign: Any, grid: Grid) -> None:
    """Give a SimpleITK image the position (LPS), spacing and direction of `grid`."""
    d = grid.dimension
    flip = flip_matrix(d)
    foreign.SetOrigin((flip[:d, :d] @ grid.origin).tolist())
    foreign.SetSpacing(grid.spacing.tolist())
    foreign.SetDirection((flip[:d, :d] @ grid.direction).reshape(-1).tolist())


def write_itk(foreign: Any, path: Path) -> None:
    """Write a SimpleITK image, compressed; raise `DataError` naming the file when ITK cannot."""
    sitk = simpleitk()
    with replacing(path) as temporary, itk_warnings():
        try:
            sitk.WriteImage(foreign, str(temporary), useCompression=True, compressionLevel=1)
        except RuntimeError as error:
            raise DataError(f"{path}: could not be written ({reason_of(error)})") from error


def write_scalar_itk(image: Image, path: Path) -> None:
    """Write a `.mha`, `.mhd`, `.nrrd` or `.nhdr` file in `image.voxel_type`; raise `DataError` for a sheared grid."""
    sitk = simpleitk()
    require_perpendicular(image.grid, path, f"the {path.suffix} format")
    foreign = sitk.GetImageFromArray(encoded(image.data, file_type(image.voxel_type), str(path)).T)
    place(foreign, image.grid)
    write_itk(foreign, path)
