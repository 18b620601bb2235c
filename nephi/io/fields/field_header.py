"""The convention of a vector field in NIfTI, from its header."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nephi.errors import DataError, warn
from nephi.io.fields.conventions import FieldConvention
from nephi.io.nifti.header import NiftiFile

VECTOR = 1007  # NIfTI intent: ITK takes the components as they are, in LPS
DISPVECT = 1006  # NIfTI intent: RAS components; ITK from 5.4 and 3-D Slicer turn them into LPS
FSL_FIELD = 2006
FSL_SPLINES = (2007, 2008, 2009, 2016, 2017)  # coefficients of fnirt and topup
NAME_IT = "name its convention: itk, slicer, learn2reg, fsl or spm (--transform-format)"

SPM_NAME = "mapping"  # intent name, in lower case
SPM_VELOCITIES = ("flow field", "velocity")  # first words of the description of DARTEL's and Shoot's u_*.nii, v_*.nii
NIFTYREG_NAME = "nreg_trans"
NIFTYREG_OLD_NAMES = ("nreg_cpp_file", "nreg_vel_step")  # NiftyReg 1.3.9 and older
NIFTYREG_KINDS = (
    "deformation field",
    "displacement field",
    "cubic spline grid",
    "velocity field of positions",
    "velocity field of displacements",
    "velocity spline grid",
    "linear spline grid",
)
"""What NiftyReg's `intent_p1` stands for."""
NIFTYREG_POSITIONS, NIFTYREG_DISPLACEMENTS, NIFTYREG_SPLINES = (0, 6), (1,), (2,)


@dataclass(frozen=True, eq=False)
class FieldReading:
    """How to read the vectors of one NIfTI file.

    `convention` is one of those that `vector_code` takes. With `continued`, points beyond the grid, and voxels whose
    vector is NaN, move as the nearest voxel that has a vector does; otherwise the displacement beyond the grid is 0.
    With `cubic`, the vectors are the control points of cubic B-splines.
    """

    convention: FieldConvention
    continued: bool = False
    cubic: bool = False


def field_reading(file: NiftiFile, named: FieldConvention | None) -> FieldReading:
    """Return how to read a field: as `named` by the user, otherwise as its header says.

    The header's intent name counts before its intent code: SPM and NiftyReg write code 1007, as ITK does. A warning is
    issued where the named convention contradicts the header, and where the intent name is unknown.

    Raises `DataError` naming the file when its header states no convention, or one that nephi cannot read.
    """
    if file.intent in FSL_SPLINES:
        raise DataError(
            f"{file.path}: expected a displacement field, found FSL's spline coefficients; convert them with "
            "FSL's fnirtfileutils, and give --transform-format fsl"
        )
    if file.unit not in ("mm", "unknown") and not (named and named.name == "learn2reg"):
        raise DataError(f"{file.path}: expected a displacement field in mm, found the unit {file.unit}; convert it")
    stated = _stated_by_name(file)
    if named is None:
        return stated or FieldReading(_stated_by_code(file))
    if named.name == "niftyreg":
        if stated is None or not _is_niftyreg(file):
            raise DataError(
                f"{file.path}: expected the intent name NREG_TRANS of NiftyReg, found {file.intent_name!r}; "
                "--transform-format spm reads positions in RAS mm, slicer displacements in RAS mm"
            )
        return replace(stated, convention=replace(named, name=stated.convention.name))
    name = "itk" if named.name == "greedy" else named.name
    if stated is not None and stated.convention.name != name:
        warn(
            f"{file.path}: the header's intent name {file.intent_name!r} says {_meaning(file)}; read as "
            f"{named.name}, as --transform-format has it"
        )
    return FieldReading(replace(named, name=name), continued=name == "spm")


def niftyreg_kind(file: NiftiFile) -> int | None:
    """Return what NiftyReg's header says the file is, an index of `NIFTYREG_KINDS`; None for files of other tools.

    Raises `DataError` for a kind that does not exist.
    """
    if file.intent_name.lower() == NIFTYREG_NAME:
        if file.intent_p1 not in range(len(NIFTYREG_KINDS)):
            last = len(NIFTYREG_KINDS) - 1
            raise DataError(
                f"{file.path}: expected intent_p1 0 to {last} in a file of NiftyReg, found {file.intent_p1}"
            )
        return int(file.intent_p1)
    if file.intent_name.lower() == "nreg_cpp_file" and file.description.lower().startswith("control point position"):
        return NIFTYREG_SPLINES[0]
    return None


def _is_niftyreg(file: NiftiFile) -> bool:
    return file.intent_name.lower() in (NIFTYREG_NAME, *NIFTYREG_OLD_NAMES)


def _meaning(file: NiftiFile) -> str:
    kind = niftyreg_kind(file)
    return "positions of SPM" if kind is None else f"a {NIFTYREG_KINDS[kind]} of NiftyReg"


def _stated_by_name(file: NiftiFile) -> FieldReading | None:
    """Return the reading that the intent name states; None when the intent code decides."""
    kind = niftyreg_kind(file)
    if kind in NIFTYREG_POSITIONS:
        return FieldReading(FieldConvention("spm"), continued=True)
    if kind in NIFTYREG_DISPLACEMENTS:
        return FieldReading(FieldConvention("slicer"), continued=True)
    if kind in NIFTYREG_SPLINES:
        return FieldReading(FieldConvention("spm"), cubic=True)
    if _is_niftyreg(file):
        found = "velocities of an old version" if kind is None else f"a {NIFTYREG_KINDS[kind]}"
        raise DataError(
            f"{file.path}: expected a deformation or displacement field of NiftyReg, found {found}; convert it with "
            "reg_transform -ref FIXED -def INPUT OUTPUT, and give that"
        )
    if file.description.lower().startswith(SPM_VELOCITIES):
        raise DataError(
            f"{file.path}: expected a displacement or deformation field, found a velocity field of SPM "
            f"({file.description!r}); write the deformation with SPM (Util, Deformations: y_*.nii), and give that"
        )
    if file.intent_name.lower() == SPM_NAME:
        return FieldReading(FieldConvention("spm"), continued=True)
    if file.intent_name and file.intent in (VECTOR, DISPVECT):
        warn(
            f"{file.path}: unknown intent name {file.intent_name!r} in the header; read by its intent code "
            f"{file.intent}, as {'LPS' if file.intent == VECTOR else 'RAS'} displacements in mm; if they are others, "
            "give --transform-format"
        )
    return None


def _stated_by_code(file: NiftiFile) -> FieldConvention:
    """Return the convention that the intent code states; raise `DataError` when it states none."""
    if file.intent == FSL_FIELD:
        raise DataError(
            f"{file.path}: expected a field that states its convention, found FSL's, which depends on the moving "
            "image; give --transform-format fsl, and --transform-moving IMAGE unless it lies on the field's grid"
        )
    shape = file.shape
    if len(shape) != 5 or shape[3] != 1 or shape[4] not in (2, 3) or (shape[4] == 2 and shape[2] != 1):
        raise DataError(
            f"{file.path}: expected a displacement field of shape (X, Y, Z, 1, 3) or (X, Y, 1, 1, 2), found {shape}; "
            f"their frame and unit are unknown: export the field again (nephi, ITK, ANTs), or {NAME_IT}"
        )
    if file.intent not in (VECTOR, DISPVECT):
        raise DataError(
            f"{file.path}: expected intent 1007 (LPS vectors) or 1006 (RAS vectors), found {file.intent}; the frame of "
            f"the vectors is unknown: set the intent in the header, or {NAME_IT}"
        )
    return FieldConvention("slicer" if file.intent == DISPVECT else "itk")
