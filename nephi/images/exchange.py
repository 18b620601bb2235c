"""Images of other libraries in memory: SimpleITK, nibabel and ANTs, to voxels on a grid in RAS and back.

None of these libraries is imported unless an image of it is given or requested; the type of an object names the library
(`library_of`). SimpleITK and ANTs have LPS coordinates, nibabel RAS; the first axis of an `Image` is x (i) as in
nibabel and ANTs, in SimpleITK's arrays it is the last one.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from nephi.argument_types import type_name
from nephi.errors import DataError, UsageError, warn
from nephi.geometry import Grid
from nephi.geometry.flat import flat_grid, flattened
from nephi.geometry.frames import flip_matrix, is_sheared, require_perpendicular
from nephi.images.arrays import CHANNELS, ONE_NUMBER, Voxels, named_grid, own_array, own_voxels
from nephi.images.encoding import file_type
from nephi.images.voxels import UNSCALED, Scaling

SITK, NIBABEL, ANTS = "SimpleITK", "nibabel", "ants"
LIBRARIES = (SITK, NIBABEL, ANTS)
MILLIMETRES = {"meter": 1000.0, "micron": 0.001}  # units of nibabel's headers


class SitkImage(Protocol):
    """An image of SimpleITK."""

    def GetDirection(self) -> Any:
        """Return the direction cosines, row by row."""

    def GetOrigin(self) -> Any:
        """Return the position of the first voxel, LPS mm."""


class NibabelImage(Protocol):
    """A spatial image of nibabel."""

    @property
    def affine(self) -> Any:
        """Voxel-to-world matrix, RAS."""

    @property
    def dataobj(self) -> Any:
        """The voxels, in memory or in the file."""


class AntsImage(Protocol):
    """An image of ANTs' Python package, antspyx."""

    @property
    def direction(self) -> Any:
        """Direction cosines, LPS."""

    def numpy(self) -> Any:
        """Return the voxels."""


ForeignImage = SitkImage | NibabelImage | AntsImage


def library_of(image: object) -> str:
    """Return which of `LIBRARIES` defines the type of an object or one of its bases; empty for none of them."""
    packages = (base.__module__.partition(".")[0] for base in type(image).__mro__)
    return next((package for package in packages if package in LIBRARIES), "")


def sitk_voxels(image: Any, name: str) -> Voxels:
    """Return a copy of the voxels of a SimpleITK image, and its grid in RAS."""
    _require_library(image, SITK, "Image", name)
    import SimpleITK

    components, size = image.GetNumberOfComponentsPerPixel(), image.GetSize()
    _require_scalars(components, len(size), name)
    try:
        array = SimpleITK.GetArrayFromImage(image)
    except Exception as error:  # label maps of SimpleITK have no array
        raise DataError(
            f"{name}: expected voxels of numbers, got {image.GetPixelIDTypeAsString()}; convert it (SimpleITK.Cast)"
        ) from error
    matrix = _lps_matrix(image.GetDirection(), image.GetSpacing(), image.GetOrigin())
    array = array.reshape(tuple(reversed(size))).T  # SimpleITK's arrays are (z, y, x)
    return own_voxels(array, flattened(named_grid(size, matrix, name), name), name)


def nibabel_voxels(image: Any, name: str) -> Voxels:
    """Return the voxels of a spatial image of nibabel, scaled as its header states, and its grid."""
    _require_library(image, NIBABEL, "affine", name)
    shape = tuple(image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    _require_scalars(1, len(shape), name)
    if image.affine is None:
        raise DataError(f"{name}: expected an image with an affine, got one of nibabel without; set it (RAS, mm)")
    proxy, scaling = image.dataobj, UNSCALED
    try:
        # Its subclasses (AFNI, PAR/REC) scale in other ways, and each slice differently.
        if type(proxy).__name__ == "ArrayProxy":
            array, scaling = proxy.get_unscaled(), Scaling(float(proxy.slope), float(proxy.inter))
        else:
            array = np.asanyarray(proxy)
    except (OSError, ValueError) as error:  # of the file
        raise DataError(f"{name}: the voxels could not be read ({error})") from error
    array = array.reshape(shape, order="F")
    matrix = _in_millimetres(image, name) @ torch.as_tensor(np.asarray(image.affine), dtype=torch.float64)
    if len(shape) == 2 or shape[2] == 1:
        return own_voxels(array, flat_grid(shape, matrix, name), name, scaling)
    return own_voxels(array, named_grid(shape, matrix, name), name, scaling)


def _in_millimetres(image: Any, name: str) -> Tensor:
    """Return the 4x4 matrix that converts the unit of a header of nibabel to mm."""
    units = getattr(image.header, "get_xyzt_units", None)
    unit = "mm" if units is None else units()[0]
    if unit in MILLIMETRES:
        warn(f"{name}: its header states {unit}: converted to mm; correct the unit if that is wrong")
    scale = MILLIMETRES.get(unit, 1.0)
    return torch.diag(torch.tensor([scale, scale, scale, 1.0], dtype=torch.float64))


def ants_voxels(image: Any, name: str) -> Voxels:
    """Return a copy of the voxels of an image of antspyx, and its grid in RAS."""
    _require_library(image, ANTS, "direction", name)
    _require_scalars(image.components, image.dimension, name)
    matrix = _lps_matrix(image.direction, image.spacing, image.origin)
    return own_voxels(image.numpy(), flattened(named_grid(image.shape, matrix, name), name), name)


def to_sitk(data: Tensor, grid: Grid, voxel_type: str, name: str) -> Any:
    """Return an image of SimpleITK; raise `DataError` for a sheared grid."""
    import SimpleITK

    require_perpendicular(grid, name, "an image of SimpleITK")
    voxels = own_array(data, _exchanged_type(voxel_type), name)
    if grid.plane is not None and grid.plane.step is not None:  # of a file or an image of three axes
        voxels, grid = voxels[..., None], grid.in_space()
    image: Any = SimpleITK.GetImageFromArray(voxels.T)
    flip = flip_matrix(grid.dimension)[:-1, :-1]
    image.SetOrigin((flip @ grid.origin).tolist())
    image.SetSpacing(grid.spacing.tolist())
    image.SetDirection((flip @ grid.direction).reshape(-1).tolist())
    return image


def to_nibabel(data: Tensor, grid: Grid, voxel_type: str, name: str) -> Any:
    """Return an image of nibabel in mm, with equal sform and qform of code 1; no qform for a sheared grid."""
    try:
        import nibabel
    except ImportError as error:
        raise UsageError("to_nibabel: needs nibabel, which is not installed: pip install nibabel") from error
    voxels, space = own_array(data, _exchanged_type(voxel_type), name), grid.in_space()
    if grid.dimension == 2 and (grid.plane is None or grid.plane.step is None):
        shape: tuple[int, ...] = grid.shape
    else:
        shape = space.shape
    affine = space.affine.numpy()
    image = nibabel.Nifti1Image(voxels.reshape(shape, order="F"), affine, dtype=voxels.dtype)
    image.set_sform(affine, 1)
    if not is_sheared(space):
        image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm")
    return image


def _exchanged_type(voxel_type: str) -> np.dtype[Any]:
    """Return the numpy type of voxels in other libraries, which know no floats beyond 64 bits."""
    return np.dtype("float64") if voxel_type in ("longdouble", "float128") else file_type(voxel_type)


def _lps_matrix(direction: Any, spacing: Any, origin: Any) -> Tensor:
    """Return the voxel-to-world matrix in RAS of a position that is stated in LPS."""
    dimension = len(spacing)
    matrix = torch.eye(dimension + 1, dtype=torch.float64)
    axes = torch.as_tensor(np.array(direction, dtype=np.float64).reshape(dimension, dimension), dtype=torch.float64)
    matrix[:-1, :-1] = axes * torch.tensor(list(spacing), dtype=torch.float64)
    matrix[:-1, -1] = torch.tensor(list(origin), dtype=torch.float64)
    return flip_matrix(dimension) @ matrix


def _require_library(image: object, library: str, kind: str, name: str) -> None:
    """Raise `UsageError` unless `image` is an image of a library; `kind` is the name of its type or of an attribute."""
    if library_of(image) != library or not (type(image).__name__ == kind or hasattr(type(image), kind)):
        raise UsageError(f"{name}: expected an image of {library}, got {type_name(image)}")


def _require_scalars(components: int, dimension: int, name: str) -> None:
    """Raise `DataError` unless voxels are scalar, and on two or three axes."""
    if components != 1:
        raise DataError(f"{name}: expected {ONE_NUMBER}, got {components} components; {CHANNELS}")
    if dimension not in (2, 3):
        raise DataError(f"{name}: expected a 2-D or 3-D image, got a {dimension}-D one; take one volume of a series")
