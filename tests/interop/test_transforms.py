"""ITK's transforms of every linear class, chains, and ANTs' files take points to the same places in nephi."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nephi.geometry import Grid
from nephi.images import Image
from nephi.io import read_foreign_transform, write_affine, write_image
from nephi.transforms import AffineTransform, Composite, DisplacementField, Transform

C3, C2 = (10.0, -20.0, 30.0), (10.0, -20.0)
T3, T2 = (1.5, 2.5, -3.5), (1.5, 2.5)
AXIS = (0.6, 0.0, 0.8)
MATRIX_3, MATRIX_2 = (1.1, 0.1, 0.2, -0.1, 0.9, 0.05, 0.0, 0.3, 1.2), (1.1, 0.1, -0.2, 0.9)

LINEAR: dict[str, Callable[[], Any]] = {
    "Affine 3-D": lambda: sitk.AffineTransform(MATRIX_3, T3, C3),
    "Affine 2-D": lambda: sitk.AffineTransform(MATRIX_2, T2, C2),
    "Euler 3-D": lambda: sitk.Euler3DTransform(C3, 0.1, 0.2, 0.3, T3),
    "Euler 2-D": lambda: sitk.Euler2DTransform(C2, 0.4, T2),
    "Versor": lambda: sitk.VersorTransform(AXIS, 0.3, C3),
    "VersorRigid": lambda: sitk.VersorRigid3DTransform(AXIS, 0.3, T3, C3),
    "Similarity 3-D": lambda: sitk.Similarity3DTransform(1.2, AXIS, 0.3, T3, C3),
    "Similarity 2-D": lambda: sitk.Similarity2DTransform(0.8, 0.3, T2, C2),
    "ScaleVersor": lambda: sitk.ScaleVersor3DTransform((1.1, 0.9, 1.3), AXIS, 0.3, T3, C3),
    "ScaleSkewVersor": lambda: sitk.ScaleSkewVersor3DTransform((1.1, 0.9, 1.3), (0.1,) * 6, AXIS, 0.3, T3, C3),
    "Scale 3-D": lambda: sitk.ScaleTransform(3, (1.1, 0.9, 1.3)),
    "Scale 2-D": lambda: sitk.ScaleTransform(2, (1.1, 0.9)),
    "Translation 3-D": lambda: sitk.TranslationTransform(3, T3),
    "Translation 2-D": lambda: sitk.TranslationTransform(2, T2),
    "Identity": lambda: sitk.Transform(3, sitk.sitkIdentity),
}


def require_same_map(ours: Transform, theirs: Any, points_ras: np.ndarray, atol: float = 1e-9) -> None:
    flip = np.array([-1, -1, 1])[: ours.dimension]
    moved = ours(torch.from_numpy(points_ras)).numpy()
    expected = np.array([theirs.TransformPoint(p) for p in (points_ras * flip).tolist()]) * flip
    np.testing.assert_allclose(moved, expected, atol=atol)


def anywhere(dimension: int) -> np.ndarray:
    return np.random.default_rng(0).normal(scale=100, size=(20, dimension))


@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.parametrize("suffix", [".tfm", ".txt", ".h5", ".hdf5", ".mat"])
def test_linear_classes(tmp_path: Path, kind: str, suffix: str) -> None:
    theirs = LINEAR[kind]()
    path = tmp_path / f"a{suffix}"
    sitk.WriteTransform(theirs, str(path))
    ours = read_foreign_transform(path)
    assert isinstance(ours, AffineTransform)
    require_same_map(ours, theirs, anywhere(theirs.GetDimension()))


@pytest.mark.parametrize("kind", ["Affine 3-D", "Euler 3-D", "ScaleSkewVersor"])
def test_minc_files_that_itk_wrote(tmp_path: Path, kind: str) -> None:
    theirs = LINEAR[kind]()
    sitk.WriteTransform(theirs, str(tmp_path / "a.xfm"))
    require_same_map(read_foreign_transform(tmp_path / "a.xfm"), theirs, anywhere(3), atol=1e-3)  # six digits


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("suffix", [".tfm", ".txt", ".mat", ".h5"])
def test_itk_reads_our_affine(tmp_path: Path, dimension: int, suffix: str) -> None:
    matrix = torch.eye(dimension + 1, dtype=torch.float64)
    matrix[:-1] += torch.randn(dimension, dimension + 1, generator=torch.Generator().manual_seed(0)) / 4
    affine = AffineTransform(matrix)
    write_affine(tmp_path / f"a{suffix}", affine)
    require_same_map(affine, sitk.ReadTransform(str(tmp_path / f"a{suffix}")), anywhere(dimension))


@pytest.mark.parametrize("kind", ["AffineTransform", "MatrixOffsetTransformBase"])
@pytest.mark.parametrize("precision", ["double", "float"])
def test_the_matrix_file_of_ants(tmp_path: Path, kind: str, precision: str) -> None:
    """ANTs' `0GenericAffine.mat`: level-4 MATLAB, LPS, the centre in `fixed`."""
    from scipy.io import savemat

    dtype = {"double": np.float64, "float": np.float32}[precision]
    content = {
        f"{kind}_{precision}_3_3": np.array([*MATRIX_3, *T3], dtype)[:, None],
        "fixed": np.array(C3, dtype)[:, None],
    }
    savemat(tmp_path / "0GenericAffine.mat", content, format="4")
    ours = read_foreign_transform(tmp_path / "0GenericAffine.mat")
    assert isinstance(ours, AffineTransform)
    require_same_map(ours, sitk.AffineTransform(MATRIX_3, T3, C3), anywhere(3), atol=1e-4)


def field_transform(grid: Grid, folder: Path) -> sitk.DisplacementFieldTransform:
    """A smooth displacement on an oblique grid, built by SimpleITK alone but for the grid's header."""
    write_image(Image(torch.zeros(grid.shape, dtype=torch.uint8), grid), folder / "grid.mha")
    reference = sitk.ReadImage(str(folder / "grid.mha"))
    shape = (*reversed(grid.shape), grid.dimension)
    vectors = np.sin(np.arange(np.prod(shape)).reshape(shape) * 0.01) * 2 + 0.5
    field = sitk.GetImageFromArray(vectors, isVector=True)
    field.CopyInformation(reference)
    return sitk.DisplacementFieldTransform(field)


def inside(grid: Grid) -> np.ndarray:
    voxel = np.random.default_rng(1).uniform(1.2, 2.6, size=(30, grid.dimension))
    return grid.voxel_to_world_points(torch.from_numpy(voxel)).numpy()


def test_a_displacement_field_transform(tmp_path: Path, grid: Grid) -> None:
    theirs = field_transform(grid, tmp_path)
    sitk.WriteTransform(theirs, str(tmp_path / "a.h5"))
    ours = read_foreign_transform(tmp_path / "a.h5")
    assert isinstance(ours, DisplacementField)
    require_same_map(ours, theirs, inside(grid), atol=1e-4)


def test_chains_keep_their_order(tmp_path: Path, grid: Grid) -> None:
    """`[affine, warp]` in SimpleITK: the warp is applied first. The other order gives other points."""
    affine = LINEAR[f"Affine {grid.dimension}-D"]()
    warp = field_transform(grid, tmp_path)
    for name, members in (("aw", [affine, warp]), ("wa", [warp, affine])):
        theirs = sitk.CompositeTransform(members)
        sitk.WriteTransform(theirs, str(tmp_path / f"{name}.h5"))
        ours = read_foreign_transform(tmp_path / f"{name}.h5")
        assert isinstance(ours, Composite)
        require_same_map(ours, theirs, inside(grid), atol=1e-4)
        kinds = [type(t) for t in ours.transforms]
        assert kinds == [DisplacementField, AffineTransform][:: 1 if name == "aw" else -1]


@pytest.mark.parametrize("suffix", [".tfm", ".h5"])
def test_chains_of_linear_transforms_become_one_matrix(tmp_path: Path, suffix: str) -> None:
    theirs = sitk.CompositeTransform([LINEAR["Euler 3-D"](), LINEAR["Translation 3-D"](), LINEAR["Affine 3-D"]()])
    sitk.WriteTransform(theirs, str(tmp_path / f"a{suffix}"))
    ours = read_foreign_transform(tmp_path / f"a{suffix}")
    assert isinstance(ours, AffineTransform)
    require_same_map(ours, theirs, anywhere(3))


def test_a_rigid_result_of_an_itk_registration_is_undone(tmp_path: Path) -> None:
    theirs = LINEAR["Similarity 3-D"]()
    sitk.WriteTransform(theirs.GetInverse(), str(tmp_path / "inverse.tfm"))
    back = read_foreign_transform(tmp_path / "inverse.tfm")
    assert isinstance(back, AffineTransform)
    require_same_map(back.inverse(), theirs, anywhere(3))
