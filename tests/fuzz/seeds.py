"""Small valid files of every kind that nephi reads: what the fuzzer starts from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pydicom
import SimpleITK as sitk
import torch
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

import nephi
from nephi.fields import (
    AffineStep,
    AttentionStep,
    DisplacementStep,
    SplineStep,
    Step,
    StoredTransform,
    VelocityStep,
    nephi_bytes,
)
from nephi.geometry import Grid
from nephi.images import Image
from nephi.io import write_displacement, write_displacement_itk
from nephi.transforms import (
    AffineTransform,
    ContinuedDisplacement,
    CoordinateAttention,
    DisplacementField,
    StationaryVelocity,
    spline_fit,
)
from tests.conftest import _oblique
from tests.io.dicom.dicom_writer import SERIES, ramp, write_enhanced, write_slices
from tests.models.predictions import model

Written = Iterator[tuple[str, str, str]]
ITK_SNAP_LABELS = '1 255 0 0 1 1 1 "liver"\n2 0 255 0 0.5 1 1 "left lung"\n'
COLOUR_TABLE = "# Color table file a.ctbl\n1 left_lung 128 174 128 255\n2 liver 221 130 101 255\n"
ELASTIX = """\
(Transform "EulerTransform")
(NumberOfParameters 6)
(TransformParameters 0.1 -0.2 0.3 1 2 3)
(InitialTransformParameterFileName "a.txt")
(HowToCombineTransforms "Compose")
(FixedImageDimension 3)
(UseDirectionCosines "true")
(CenterOfRotationPoint 10.5 -20 30)
(ComputeZYX "false")
"""
SPLINE = """\
(Transform "BSplineTransform")
(NumberOfParameters 50)
(TransformParameters 0 0.5 1 1.5 2 2.5 3 3.5 4 4.5 5 5.5 6 6.5 7 7.5 8 8.5 9 9.5 10 10.5 11 11.5 12 0 1 0 1 0 1 0 \
1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0)
(InitialTransformParameterFileName "NoInitialTransform")
(HowToCombineTransforms "Compose")
(FixedImageDimension 2)
(UseDirectionCosines "true")
(GridSize 5 5)
(GridIndex 0 0)
(GridSpacing 10 12)
(GridOrigin -10 -12)
(GridDirection 1 0 0 1)
(BSplineTransformSplineOrder 3)
(UseCyclicTransform "false")
"""


LTA = """\
type      = 1 # LINEAR_RAS_TO_RAS
nxforms   = 1
mean      = 0 0 0
sigma     = 1
1 4 4
1 0.1 0 3
-0.1 1 0 4
0 0 1 5
0 0 0 1
src volume info
valid = 1  # volume info valid
filename = m.nii
volume = 7 5 6
voxelsize = 1.5 0.8 2.5
xras   = -1 0 0
yras   = 0 0 -1
zras   = 0 1 0
cras   = 1 2 3
dst volume info
valid = 1  # volume info valid
filename = f.nii
volume = 7 5 6
voxelsize = 1.5 0.8 2.5
xras   = -1 0 0
yras   = 0 0 -1
zras   = 0 1 0
cras   = 1 2 3
"""


@dataclass(frozen=True)
class Seed:
    """A valid file: the reader called `reader` is given `entry`; `target` is the file that is mutated.

    `files` has the contents of all files of it by name. From byte `sealed` of the target on, a checksum covers the
    contents: other contents must not be accepted.
    """

    name: str
    reader: str
    entry: str
    target: str
    files: dict[str, bytes] = field(repr=False)
    sealed: int | None = None


def make_seeds(folder: Path) -> list[Seed]:
    """Write every kind of file below `folder`, and return what was written."""
    seeds: list[Seed] = []
    for make in (_images, _pictures, _dicom, _fields, _affines, _chains, _texts, _points, _tables, _tensors):
        for name, reader, entry in make(folder):
            paths = sorted(path for path in (folder / name).rglob("*") if path.is_file())
            files = {path.name: path.read_bytes() for path in paths}
            for target, data in files.items():
                seeds.append(Seed(f"{name}/{target}", reader, entry, target, files, _sealed(target, data)))
    return seeds


def _sealed(name: str, data: bytes) -> int | None:
    """Return where contents begin that a checksum covers, None where no checksum does."""
    if name.endswith((".zraw", ".png")):
        return 0
    if name.endswith((".gz", ".mgz")):
        return 10  # what stands in gzip's own header does not matter
    if name.endswith(".mha") and b"CompressedData = True" in data:
        return data.index(b"\n", data.index(b"ElementDataFile")) + 1
    if name.endswith(".nrrd") and b"encoding: gz" in data:
        return data.index(b"\n\n") + 12
    return None


def _new(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def _grid() -> Grid:
    return _oblique((7, 5, 6), [1.5, 0.8, 2.5], [-31.0, 47.5, 212.25], [0, 1, 2])


def _images(folder: Path) -> Written:
    noise = torch.rand((7, 5, 6), generator=torch.Generator().manual_seed(0)) * 2000 - 500
    image = Image(noise.short(), _grid())
    data = np.asarray(image.data)
    for suffix in ("nii", "nii.gz", "mha", "mhd", "nrrd", "nhdr"):
        nephi.write_image(image, _new(folder, f"image {suffix}") / f"a.{suffix}")
        yield f"image {suffix}", "image", f"a.{suffix}"
    scaled = nibabel.Nifti1Image(data, _grid().affine.numpy())
    scaled.header.set_slope_inter(0.5, 3)
    nibabel.save(scaled, _new(folder, "scaled") / "a.nii")
    yield "scaled", "image", "a.nii"
    twice = nibabel.Nifti1Image(data, _grid().affine.numpy())
    twice.header.set_qform(np.eye(4), 1)
    twice.header.set_sform(_grid().affine.numpy(), 2)
    nibabel.save(twice, _new(folder, "two positions") / "a.nii")
    yield "two positions", "image", "a.nii"
    nibabel.save(nibabel.Nifti1Pair(data, np.eye(4)), _new(folder, "pair") / "a.img")
    yield "pair", "image", "a.hdr"
    nibabel.save(nibabel.Nifti2Image(data, _grid().affine.numpy()), _new(folder, "nifti 2") / "a.nii")
    yield "nifti 2", "image", "a.nii"
    nibabel.save(nibabel.AnalyzeImage(data, None), _new(folder, "analyze") / "a.img")
    yield "analyze", "image", "a.img"
    nibabel.save(nibabel.MGHImage(data, np.eye(4)), _new(folder, "mgz") / "a.mgz")
    yield "mgz", "image", "a.mgz"
    nephi.io.write_series(_new(folder, "series") / "a.nii.gz", [image] * 2, 2)
    yield "series", "series", "a.nii.gz"
    foreign = sitk.GetImageFromArray(data.T)
    for suffix in ("mha", "nrrd", "mhd", "nhdr"):
        sitk.WriteImage(foreign, str(_new(folder, f"raw {suffix}") / f"a.{suffix}"))
        yield f"raw {suffix}", "image", f"a.{suffix}"
    lines = [b"NRRD0004", b"type: uchar", b"dimension: 3", b"sizes: 3 2 2", b"encoding: raw", b"data file: LIST"]
    (_new(folder, "list") / "a.nhdr").write_bytes(b"\n".join([*lines, b"one.raw", b"two.raw"]))
    for name in ("one.raw", "two.raw"):
        (folder / "list" / name).write_bytes(b"abcdef")
    yield "list", "image", "a.nhdr"
    head = b"NRRD0004\ntype: int\ndimension: 2\nsizes: 3 2\nspacings: 1 2\nencoding: ascii\n\n"
    (_new(folder, "text") / "a.nrrd").write_bytes(head + b"1 2 3\n4 5 -6\n")
    yield "text", "image", "a.nrrd"


def _pictures(folder: Path) -> Written:
    noise = np.random.default_rng(0).integers(0, 255, (9, 12)).astype(np.uint8)
    for name, packed in (("png", True), ("tif", False), ("packed tif", True)):
        file = f"a.{name.split()[-1]}"
        sitk.WriteImage(sitk.GetImageFromArray(noise), str(_new(folder, name) / file), useCompression=packed)
        yield name, "image", file


def _dicom(folder: Path) -> Written:
    for name, syntax in (("dicom", ExplicitVRLittleEndian), ("dicom rle", RLELossless)):
        for path in sorted(write_slices(_new(folder, name), ramp()[..., :2], syntax=syntax).iterdir()):
            data = pydicom.dcmread(path)
            _name_slice(data, int(path.stem))
            data.save_as(path)
        yield name, "image", ""
    write_enhanced(_new(folder, "dicom frames") / "a.dcm", ramp(), change=lambda data: _name_slice(data, 0))
    yield "dicom frames", "image", "a.dcm"


def _name_slice(data: Dataset, k: int) -> None:
    """Give a slice the same identifier in every run."""
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = UID(f"{SERIES}.{k + 3}")


def _fields(folder: Path) -> Written:
    grid = _grid()
    noise = torch.rand((*grid.shape, 3), generator=torch.Generator().manual_seed(1))
    write_displacement(_new(folder, "field nii") / "f.nii.gz", lambda x: x + x.sin(), grid)
    yield "field nii", "transform", "f.nii.gz"
    for suffix in ("mha", "nrrd"):
        write_displacement_itk(_new(folder, f"field {suffix}") / f"f.{suffix}", DisplacementField(noise, grid))
        yield f"field {suffix}", "transform", f"f.{suffix}"


def _affines(folder: Path) -> Written:
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3] += torch.rand(3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64) / 5
    for suffix in ("tfm", "mat", "h5"):
        nephi.io.write_affine(_new(folder, suffix) / f"t.{suffix}", AffineTransform(matrix))
        if suffix == "h5":
            _drop_times(folder / "h5" / "t.h5")
        yield suffix, "transform", f"t.{suffix}"
    sitk.WriteTransform(sitk.AffineTransform(3), str(_new(folder, "xfm") / "t.xfm"))
    yield "xfm", "transform", "t.xfm"


def _drop_times(path: Path) -> None:
    """Write an HDF5 file again, without the times at which its parts were written: the same bytes in every run."""
    parts: dict[str, h5py.Dataset] = {}
    with h5py.File(path) as old, h5py.File(path.with_suffix(".new"), "w") as new:
        old.visititems(lambda name, part: parts.update({name: part} if isinstance(part, h5py.Dataset) else {}))
        for name, part in parts.items():
            new.create_dataset(name, data=part[()], dtype=part.dtype, track_times=False)
    path.with_suffix(".new").replace(path)


def _chains(folder: Path) -> Written:
    chain = sitk.CompositeTransform(3)
    chain.AddTransform(sitk.Euler3DTransform((1, 2, 3), 0.1, 0.2, 0.3, (4, 5, 6)))
    chain.AddTransform(sitk.BSplineTransformInitializer(sitk.Image([9, 9, 9], sitk.sitkUInt8), [2, 2, 2]))
    for suffix in ("tfm", "h5"):
        sitk.WriteTransform(chain, str(_new(folder, f"chain {suffix}") / f"t.{suffix}"))
        if suffix == "h5":
            _drop_times(folder / "chain h5" / "t.h5")
        yield f"chain {suffix}", "transform", f"t.{suffix}"


def _texts(folder: Path) -> Written:
    elastix = _new(folder, "elastix")
    (elastix / "b.txt").write_text(ELASTIX)
    first = ELASTIX.replace("Euler", "Translation").replace("0.1 -0.2 0.3 ", "").replace("a.txt", "NoInitialTransform")
    (elastix / "a.txt").write_text(first.replace("NumberOfParameters 6", "NumberOfParameters 3"))
    yield "elastix", "transform", "b.txt"
    (_new(folder, "elastix spline") / "s.txt").write_text(SPLINE)
    yield "elastix spline", "transform", "s.txt"

    (_new(folder, "flirt") / "m.mat").write_text("1 0.1 0 3\n-0.1 1 0 4\n0 0 1 5\n0 0 0 1\n")
    yield "flirt", "greedy", "m.mat"
    (_new(folder, "lta") / "m.lta").write_text(LTA)
    yield "lta", "transform", "m.lta"


def _points(folder: Path) -> Written:
    points = nephi.Points(torch.tensor([[1.5, -2, 3], [4, 5.25, 6], [7, 8, 9]], dtype=torch.float64), ("a", "b", "c"))
    for suffix in ("csv", "mrk.json", "fcsv", "pts"):
        nephi.write_points(_new(folder, suffix) / f"p.{suffix}", points)
        yield suffix, "points", f"p.{suffix}"
    nephi.write_point_pairs(_new(folder, "point pairs") / "p.csv", nephi.PointPairs(points, points))
    yield "point pairs", "point pairs", "p.csv"
    for name, text in (
        ("ITK-SNAP", '1 255 0 0 1 1 1 "liver"\n2 0 255 0 0.5 1 1 "left lung"\n'),
        ("ctbl", COLOUR_TABLE),
    ):
        (_new(folder, name) / "names.txt").write_text(text, encoding="utf-8")
        yield name, "label names", "names.txt"


def _tables(folder: Path) -> Written:
    text = "name,fixed,moving,landmarks\none,f.nii,m.nii,\ntwo,f2.nii,m2.nii,p.csv\n"
    (_new(folder, "cohort") / "pairs.csv").write_text(text)
    yield "cohort", "cohort", "pairs.csv"
    settings = nephi.settings.settings_toml(nephi.preset(nephi.preset_names()[0]))
    (_new(folder, "settings") / "s.toml").write_text(settings)
    yield "settings", "settings", "s.toml"
    train = nephi.training.train_settings_toml(nephi.training.TrainSettings()).replace(
        'index = ""', 'index = "dataset.json"'
    )
    (_new(folder, "train settings") / "t.toml").write_text(train)
    yield "train settings", "train settings", "t.toml"
    images = [{"id": name, "subject": "s", "image": "dataset.json"} for name in "ab"]
    splits = {"test": {"subjects": ["s"], "pairs": "within-subjects"}}
    index = {"format": "nephi-dataset", "version": 1, "name": "x", "dimension": 3, "images": images, "splits": splits}
    (_new(folder, "index") / "dataset.json").write_text(json.dumps(index, indent=1))
    yield "index", "index", "dataset.json"


def _tensors(folder: Path) -> Written:
    stored = StoredTransform(
        AffineTransform.identity(3), _grid(), _grid(), (), {"optimization": {"rate": 0.01}}, {"seed": 7}
    )
    (_new(folder, "affine nephi") / "t.nephi").write_bytes(nephi_bytes(stored))
    yield "affine nephi", "transform", "t.nephi"
    tables = [torch.full((*_grid().shape, 3), value, dtype=torch.float32) for value in (0.5, -0.5)]
    field, inverse = (DisplacementStep(ContinuedDisplacement(table, _grid())) for table in tables)
    doubled = AffineStep(AffineTransform(torch.diag(torch.tensor([2.0, 2, 2, 1], dtype=torch.float64))))
    composed = StoredTransform(
        AffineTransform.identity(3), _grid(), _grid(), (doubled, field), inverse_steps=(inverse,)
    )
    (_new(folder, "composed nephi") / "t.nephi").write_bytes(nephi_bytes(composed))
    yield "composed nephi", "transform", "t.nephi"
    for step in version_3_steps():
        one = StoredTransform(AffineTransform.identity(3), _grid(), _grid(), (step,))
        (_new(folder, f"{step.kind} nephi") / "t.nephi").write_bytes(nephi_bytes(one))
        yield f"{step.kind} nephi", "transform", "t.nephi"
    field_file = Path(__file__).parents[1] / "fields" / "version1.nephi"
    (_new(folder, "field nephi") / "t.nephi").write_bytes(field_file.read_bytes())
    yield "field nephi", "transform", "t.nephi"
    for kind in ("unet", "dense", "auto"):
        nephi.models.write_model(model(kind, 2), _new(folder, f"model {kind}") / "m.safetensors")
        yield f"model {kind}", "model", "m.safetensors"


def version_3_steps() -> list[Step]:
    """Return a step of each kind that files of versions 1 and 2 do not hold."""
    velocity = torch.full((*_grid().shape, 3), 0.5, dtype=torch.float32)
    centres = _grid().corners_world()
    spline = spline_fit(centres[None], centres[None].square() / 20, 0.1, 5.0).one(0)
    positions = _grid().voxel_centres().reshape(-1, 3)[:20].double()
    attention = CoordinateAttention(velocity, _grid(), velocity.reshape(-1, 3)[:20].clone(), positions)
    return [VelocityStep(StationaryVelocity(velocity, _grid())), SplineStep(spline), AttentionStep(attention)]
