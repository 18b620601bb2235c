"""Every transform class that ITK registers, written by itk: alone, in composites, in each file format."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nephi.errors import DataError
from nephi.io import read_foreign_transform
from nephi.transforms import AffineTransform, Composite, Transform

itk = pytest.importorskip("itk", reason="needs itk-elastix, of the extra `interop`")
pytestmark = pytest.mark.filterwarnings("ignore:builtin type")  # from itk, on import

BOTH = (
    "AffineTransform",
    "CenteredAffineTransform",
    "FixedCenterOfRotationAffineTransform",
    "ScalableAffineTransform",
    "MatrixOffsetTransformBase",
    "ScaleTransform",
    "ScaleLogarithmicTransform",
    "TranslationTransform",
    "IdentityTransform",
)
SPATIAL = (
    "Euler3DTransform",
    "CenteredEuler3DTransform",
    "Rigid3DTransform",
    "QuaternionRigidTransform",
    "VersorTransform",
    "VersorRigid3DTransform",
    "Similarity3DTransform",
    "ScaleVersor3DTransform",
    "ScaleSkewVersor3DTransform",
    "ComposeScaleSkewVersor3DTransform",
)
PLANAR = (
    "Euler2DTransform",
    "Rigid2DTransform",
    "CenteredRigid2DTransform",
    "Similarity2DTransform",
    "CenteredSimilarity2DTransform",
)
CLASSES = [*itertools.product(BOTH, (2, 3)), *itertools.product(SPATIAL, (3,)), *itertools.product(PLANAR, (2,))]


def build(name: str, d: int) -> Any:
    """Return a transform of the class with parameters, and a centre if it has one, that are not the defaults."""
    template = getattr(itk, name)
    for key in ((itk.D, d), (itk.D, d, d), itk.D):
        try:
            transform = template[key].New()
            break
        except itk.support.extras.TemplateTypeError:
            continue
    if hasattr(transform, "SetComputeZYX"):
        transform.SetComputeZYX(True)
    if hasattr(transform, "SetCenter"):
        transform.SetCenter([10.0, 20.0, -30.0][:d])
    if name == "Rigid3DTransform":  # refuses a matrix that is not a rotation
        turn = build("VersorRigid3DTransform", 3)
        values = [*itk.array_from_matrix(turn.GetMatrix()).reshape(-1), 1.0, 2.0, 3.0]
    else:
        noise = np.random.default_rng(len(name)).uniform(-0.2, 0.2, transform.GetNumberOfParameters())
        values = np.array(list(transform.GetParameters())) + noise
    parameters = itk.OptimizerParameters[itk.D](len(values))
    for index, value in enumerate(values):
        parameters[index] = float(value)
    transform.SetParameters(parameters)
    return transform


def write(transform: Any, path: Path) -> Path:
    itk.transformwrite([transform], str(path))
    return path


def require_same_map(ours: Transform, theirs: Any, atol: float = 1e-9) -> None:
    d = ours.dimension
    flip = np.array([-1, -1, 1])[:d]
    points = np.random.default_rng(0).uniform(-60, 60, (12, d))
    expected = np.array([list(theirs.TransformPoint((p * flip).tolist())) for p in points]) * flip
    np.testing.assert_allclose(ours(torch.from_numpy(points)).numpy(), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("suffix", [".tfm", ".mat", ".h5"])
@pytest.mark.parametrize(("name", "d"), CLASSES)
def test_classes(tmp_path: Path, name: str, d: int, suffix: str) -> None:
    theirs = build(name, d)
    ours = read_foreign_transform(write(theirs, tmp_path / f"a{suffix}"))
    assert isinstance(ours, AffineTransform)
    require_same_map(ours, theirs)


@pytest.mark.parametrize("suffix", [".txt", ".h5"])
@pytest.mark.parametrize(("name", "d"), CLASSES)
def test_classes_in_composites(tmp_path: Path, name: str, d: int, suffix: str) -> None:
    chain = itk.CompositeTransform[itk.D, d].New()
    for member in (build("AffineTransform", d), build(name, d), build("TranslationTransform", d)):
        chain.AddTransform(member)
    ours = read_foreign_transform(write(chain, tmp_path / f"chain{suffix}"))
    assert isinstance(ours, AffineTransform)
    require_same_map(ours, chain)


@pytest.mark.parametrize("suffix", [".tfm", ".h5"])
@pytest.mark.parametrize("name", ["CenteredAffineTransform", "CenteredEuler3DTransform", "MatrixOffsetTransformBase"])
def test_fields_between_linear_maps(tmp_path: Path, name: str, suffix: str) -> None:
    """uniGradICON writes a field between two centred affine maps."""
    size, d = (9, 8, 7), 3
    field = itk.Image[itk.Vector[itk.D, d], d].New()
    region = itk.ImageRegion[d]()
    region.SetSize(size)
    field.SetRegions(region)
    field.Allocate()
    turn = itk.array_from_matrix(build("VersorRigid3DTransform", 3).GetMatrix())
    field.SetDirection(itk.matrix_from_array(np.ascontiguousarray(turn)))
    field.SetSpacing([12.0, 15.0, 20.0])
    field.SetOrigin((turn @ [-48.0, -55.0, -60.0]).tolist())
    itk.array_view_from_image(field)[:] = np.random.default_rng(0).uniform(-3, 3, (*size[::-1], d))
    warp = itk.DisplacementFieldTransform[itk.D, d].New()
    warp.SetDisplacementField(field)
    chain = itk.CompositeTransform[itk.D, d].New()
    for member in (build(name, d), warp, build(name, d)):
        chain.AddTransform(member)
    ours = read_foreign_transform(write(chain, tmp_path / f"chain{suffix}"))
    assert isinstance(ours, Composite)
    require_same_map(ours, chain, atol=1e-4)


def test_a_composite_in_matlab_does_not_name_its_members(tmp_path: Path) -> None:
    chain = itk.CompositeTransform[itk.D, 3].New()
    chain.AddTransform(build("Euler3DTransform", 3))
    with pytest.raises(DataError, match=r"a\.mat: expected one transform, found a composite, .*; save it as \.h5"):
        read_foreign_transform(write(chain, tmp_path / "a.mat"))
