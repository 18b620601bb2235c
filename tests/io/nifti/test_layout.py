"""Headers of NIfTI and Analyze: nibabel states the same fields, and reads the same positions from what is written."""

import nibabel
import numpy as np
import pytest
from nibabel.analyze import header_dtype as analyze
from nibabel.freesurfer.mghformat import header_dtype as mgh
from nibabel.nifti1 import data_type_codes
from nibabel.nifti1 import header_dtype as nifti_1
from nibabel.nifti2 import header_dtype as nifti_2

from nephi.io.nifti.layout import ANALYZE, NIFTI_1, NIFTI_2, VOXEL_TYPES, new_header, quaternion, set_position
from nephi.io.nifti.mgh import FIELDS


def test_fields_are_those_of_nibabel() -> None:
    for ours, theirs in ((NIFTI_1, nifti_1), (NIFTI_2, nifti_2), (ANALYZE, analyze), (FIELDS, mgh)):
        assert ours == theirs and ours.itemsize == theirs.itemsize


def test_voxel_types_are_those_of_nibabel_that_numpy_has() -> None:
    types = data_type_codes.dtype  # type: ignore[attr-defined] # a recoder of nibabel
    known = {code: np.dtype(kind) for code, kind in types.items() if isinstance(code, int)}
    assert {code: kind for code, kind in known.items() if kind.itemsize and code not in (1536, 2048)} == VOXEL_TYPES


def random_rotation(generator: np.random.Generator) -> np.ndarray:
    matrix = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    return matrix * np.sign(np.linalg.det(matrix))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("shape", "kind"), [((3, 4, 5), "f4"), ((7, 2), "u1"), ((3, 4, 5, 1, 3), "i2")])
def test_a_header_is_that_of_nibabel(mirrored: bool, shape: tuple[int, ...], kind: str) -> None:
    """All fields; a quaternion is that of the same rotation, whose sign is free for half a turn."""
    generator = np.random.default_rng(0)
    half_turns = [np.diag(signs) for signs in ([1.0, 1, 1], [-1.0, -1, 1], [-1.0, 1, -1], [1.0, -1, -1])]
    for rotation in (*half_turns, *(random_rotation(generator) for _ in range(20))):
        affine = np.eye(4)
        affine[:3, :3] = rotation * generator.uniform(0.5, 4, 3) * ([1, 1, -1] if mirrored else [1, 1, 1])
        affine[:3, 3] = generator.normal(size=3) * 100
        header = new_header(shape, np.dtype(kind))
        set_position(header, affine, qform_code=1)
        expected = nibabel.Nifti1Header()
        expected.set_data_shape(shape)
        expected.set_data_dtype(np.dtype(kind))
        expected.set_qform(affine, code=1)
        expected.set_sform(affine, code=1)
        read = nibabel.Nifti1Header(header.tobytes())
        assert np.allclose(read.get_qform(), affine, rtol=0, atol=2e-5)
        expected["vox_offset"] = 352  # nibabel sets it when it writes
        for name in set(NIFTI_1.names or ()) - {"quatern_b", "quatern_c", "quatern_d", "pixdim"}:
            assert np.array_equal(header[name], expected[name]), name
        assert np.allclose(header["pixdim"], expected["pixdim"], rtol=1e-6)


def test_quaternions_are_exact_at_any_angle() -> None:
    """Rotation by 2 atan2(|v|, a) about v, by Rodrigues' formula; small angles and half turns included."""
    generator = np.random.default_rng(1)
    for angle in (0.0, 1e-9, 1e-4, 0.5, 2.0, np.pi - 1e-9, np.pi):
        axis = generator.normal(size=3)
        axis /= np.linalg.norm(axis)
        cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
        rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
        found = quaternion(rotation)
        assert min(np.abs(found - sign * np.sin(angle / 2) * axis).max() for sign in (1, -1)) < 1e-12
