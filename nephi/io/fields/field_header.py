"""Convention of a vector field in NIfTI: from its header, or as the user states it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nephi.errors import DataError, warn
from nephi.io.fields.conventions import FieldConvention
from nephi.io.nifti.header import NiftiFile

VECTOR = 1007  # NIfTI intent; ITK reads the components as LPS
DISPVECT = 1006  # NIfTI intent; RAS components, which ITK since 5.4 and 3-D Slicer convert to LPS
FSL_FIELD = 2006
FSL_SPLINES = (2007, 2008, 2009, 2016, 2017)  # spline coefficients of fnirt and topup
STATE_CONVENTION = "state its convention by --transform-format: itk, slicer, learn2reg, fsl or spm"

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
"""Kinds of file, by the value of NiftyReg's `intent_p1`."""
NIFTYREG_POSITIONS, NIFTYREG_DISPLACEMENTS, NIFTYREG_SPLINES = (0, 6), (1,), (2,)


@dataclass(frozen=True, eq=False)
class FieldInterpretation:
    """Meaning of the vectors of one file.

    `convention` is one that `vector_codec` accepts. With `continued`, points outside of the grid and voxels with a NaN
    vector have the displacement of the nearest voxel that has a vector; otherwise the displacement outside is 0. With
    `cubic`, the vectors are control points of cubic B-splines.
    """

    convention: FieldConvention
    continued: bool = False
    cubic: bool = False


def interpret_field(file: NiftiFile, user_convention: FieldConvention | None) -> FieldInterpretation:
    """Return the meaning of a field's vectors: by the user's convention if given, else by the header.

    The intent name in the header takes precedence over the intent code, because SPM and NiftyReg write code 1007 as ITK
    does. Warns when the user's convention contradicts the header, and when the intent name is unknown.

    Raises `DataError` naming the file when its header states no convention, or one that nephi cannot read.
    """
    if file.intent in FSL_SPLINES:
        raise DataError(
            f"{file.path}: expected a displacement field, found spline coefficients of FSL; convert them with "
            "FSL's fnirtfileutils, and give --transform-format fsl"
        )
    if file.unit not in ("mm", "unknown") and not (user_convention and user_convention.name == "learn2reg"):
        raise DataError(
            f"{file.path}: expected a displacement field in mm, found the unit {file.unit}; convert it to mm"
        )
    by_name = _interpret_intent_name(file)
    if user_convention is None:
        return by_name or FieldInterpretation(_convention_of_intent_code(file))
    if user_convention.name == "niftyreg":
        if by_name is None or not _is_niftyreg(file):
            raise DataError(
                f"{file.path}: expected the intent name NREG_TRANS of NiftyReg, found {file.intent_name!r}; "
                "use --transform-format spm for positions in RAS mm, slicer for displacements in RAS mm"
            )
        return replace(by_name, convention=replace(user_convention, name=by_name.convention.name))
    name = "itk" if user_convention.name == "greedy" else user_convention.name
    if by_name is not None and by_name.convention.name != name:
        warn(
            f"{file.path}: the intent name {file.intent_name!r} in the header means {_describe_kind(file)}; read as "
            f"{user_convention.name}, by --transform-format"
        )
    return FieldInterpretation(replace(user_convention, name=name), continued=name == "spm")


def niftyreg_kind(file: NiftiFile) -> int | None:
    """Return the index in `NIFTYREG_KINDS` that NiftyReg's header states; None for files of other tools.

    Raises `DataError` for an index out of range.
    """
    if file.intent_name.lower() == NIFTYREG_NAME:
        if file.intent_p1 not in range(len(NIFTYREG_KINDS)):
            last = len(NIFTYREG_KINDS) - 1
            raise DataError(
                f"{file.path}: expected an intent_p1 from 0 to {last} in a file of NiftyReg, found {file.intent_p1}"
            )
        return int(file.intent_p1)
    if file.intent_name.lower() == "nreg_cpp_file" and file.description.lower().startswith("control point position"):
        return NIFTYREG_SPLINES[0]
    return None


def _is_niftyreg(file: NiftiFile) -> bool:
    return file.intent_name.lower() in (NIFTYREG_NAME, *NIFTYREG_OLD_NAMES)


def _describe_kind(file: NiftiFile) -> str:
    kind = niftyreg_kind(file)
    return "positions of SPM" if kind is None else f"a {NIFTYREG_KINDS[kind]} of NiftyReg"


def _interpret_intent_name(file: NiftiFile) -> FieldInterpretation | None:
    """Return the meaning of the vectors by the intent name; None when the intent code decides."""
    kind = niftyreg_kind(file)
    if kind in NIFTYREG_POSITIONS:
        return FieldInterpretation(FieldConvention("spm"), continued=True)
    if kind in NIFTYREG_DISPLACEMENTS:
        return FieldInterpretation(FieldConvention("slicer"), continued=True)
    if kind in NIFTYREG_SPLINES:
        return FieldInterpretation(FieldConvention("spm"), cubic=True)
    if _is_niftyreg(file):
        found = "velocities of an old version" if kind is None else f"a {NIFTYREG_KINDS[kind]}"
        raise DataError(
            f"{file.path}: expected a deformation or displacement field of NiftyReg, found {found}; convert it with "
            "reg_transform -ref FIXED -def INPUT OUTPUT, and use that"
        )
    if file.description.lower().startswith(SPM_VELOCITIES):
        raise DataError(
            f"{file.path}: expected a displacement or deformation field, found a velocity field of SPM "
            f"({file.description!r}); write the deformation with SPM (Util, Deformations: y_*.nii), and use that"
        )
    if file.intent_name.lower() == SPM_NAME:
        return FieldInterpretation(FieldConvention("spm"), continued=True)
    if file.intent_name and file.intent in (VECTOR, DISPVECT):
        warn(
            f"{file.path}: unknown intent name {file.intent_name!r} in the header; read by the intent code "
            f"{file.intent}, as {'LPS' if file.intent == VECTOR else 'RAS'} displacements in mm; if that is wrong, "
            "give --transform-format"
        )
    return None


def _convention_of_intent_code(file: NiftiFile) -> FieldConvention:
    """Return the convention by the intent code; raise `DataError` when it states none."""
    if file.intent == FSL_FIELD:
        raise DataError(
            f"{file.path}: expected a field that states its convention, found a field of FSL, which depends on the "
            "moving image; give --transform-format fsl, and --transform-moving IMAGE unless it is on the field's grid"
        )
    shape = file.shape
    if len(shape) != 5 or shape[3] != 1 or shape[4] not in (2, 3) or (shape[4] == 2 and shape[2] != 1):
        raise DataError(
            f"{file.path}: expected a displacement field of shape (X, Y, Z, 1, 3) or (X, Y, 1, 1, 2), found {shape}; "
            f"frame and unit are unknown: export the field again (nephi, ITK, ANTs), or {STATE_CONVENTION}"
        )
    if file.intent not in (VECTOR, DISPVECT):
        raise DataError(
            f"{file.path}: expected intent 1007 (LPS vectors) or 1006 (RAS vectors), found {file.intent}; the frame of "
            f"the vectors is unknown: set the intent in the header, or {STATE_CONVENTION}"
        )
    return FieldConvention("slicer" if file.intent == DISPVECT else "itk")
