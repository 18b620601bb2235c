"""The study of `nephi demo --keep`: its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .study_readme import README

if TYPE_CHECKING:
    from nephi import Grid
    from nephi.phantoms import BreathingStudy
    from nephi.transforms import Transform

SPLINE_SPACING = 20.0  # mm, between the control points of elastix' B-splines
SHAPES, SHAPE_SIZE, SHAPE_SPACING = {"train": 24, "val": 8, "test": 8}, 64, 2.0
LABELS = """\
# ITK-SNAP label descriptions: number, red, green, blue, opacity, visible, mesh, name
0 0 0 0 0 0 0 "Clear Label"
1 228 120 60 1 1 1 "right lung"
2 60 140 228 1 1 1 "left lung"
"""
ENTRIES = (  # of the folder, the last one as the mark of a complete study
    *(f"{side}{end}" for side in ("exhale", "inhale") for end in (".nii.gz", "_mr.nii.gz", "_dicom", "_points.csv")),
    *(f"{side}_{kind}.nii.gz" for side in ("exhale", "inhale") for kind in ("lungs", "labels")),
    *("labels.txt", "landmarks.csv", "landmarks_ras.csv", "points", "transforms", "plane", "shapes", "README.txt"),
)


def write_study(folder: Path, seed: int) -> None:
    """Write a small study of a synthetic chest, and data for the other pages of the documentation, into a new folder.

    The folder is written whole or not at all. Raises `DataError` naming it when it is not empty or cannot be written.
    """
    import nephi

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise nephi.DataError(f"{folder}: --keep expects a new or an empty folder, found one with files, or a file")
    study = nephi.phantoms.breathing_study(seed)
    with nephi.io.replacing_files(folder, ENTRIES) as new:
        _write_images(new, study, f"phantom-{seed}")
        _write_points(new, study)
        (new / "transforms").mkdir()
        _write_transforms(new / "transforms", study)
        (new / "plane").mkdir()
        _write_plane(new / "plane", seed)
        (new / "shapes").mkdir()
        _write_shapes(new / "shapes", seed)
        (new / "README.txt").write_text(README.format(seed=seed, name=folder.name, **SHAPES), encoding="utf-8")


def _write_images(folder: Path, study: BreathingStudy, patient: str) -> None:
    import nephi

    for number, side in enumerate(("exhale", "inhale"), start=1):
        ends = {"": "", "_mr": "_mr", "_lungs": "_mask", "_labels": "_labels"}
        for end, attribute in ends.items():
            nephi.write_image(getattr(study, side + attribute), folder / f"{side}{end}.nii.gz")
        about = nephi.io.SeriesDescription(patient, f"CT chest {side}", number)
        nephi.io.write_ct_series(folder / f"{side}_dicom", getattr(study, side), about)
    (folder / "labels.txt").write_text(LABELS, encoding="utf-8")


def _write_points(folder: Path, study: BreathingStudy) -> None:
    import nephi

    nephi.write_point_pairs(folder / "landmarks.csv", study.landmarks, "lps")
    nephi.write_point_pairs(folder / "landmarks_ras.csv", study.landmarks, "ras")
    (folder / "points").mkdir()
    sides = {"exhale": (study.landmarks.fixed, study.exhale), "inhale": (study.landmarks.moving, study.inhale)}
    for side, (points, image) in sides.items():
        nephi.write_points(folder / f"{side}_points.csv", points)
        for suffix in (".mrk.json", ".fcsv", ".pts"):
            nephi.write_points(folder / "points" / f"{side}{suffix}", points)
        nephi.io.write_dirlab(folder / "points" / f"{side}_dirlab.txt", points, image.grid)


def _write_transforms(folder: Path, study: BreathingStudy) -> None:
    """Write the affine map A and the motion phi as the tools do, most of which store `A^-1 phi` beside A."""
    import nephi
    from nephi import transforms

    grid, moving, affine = study.exhale.grid, study.inhale.grid, study.affine
    motion = _sampled(study.transform, grid)
    nephi.io.write_affine(folder / "ants_0GenericAffine.mat", affine)
    rest = transforms.Composite([motion, affine.inverse()])
    nephi.io.write_displacement(folder / "ants_1Warp.nii.gz", rest, grid)
    nephi.io.write_displacement(
        folder / "ants_1InverseWarp.nii.gz", transforms.Composite([affine, study.inverse]), grid
    )
    nephi.io.write_elastix_affine(folder / "TransformParameters.0.txt", affine, grid)
    # After the affine map, that is over the image of the fixed grid under it.
    after = transforms.Composite([affine.inverse(), study.transform])
    spline = transforms.interpolating_splines(after, grid.covering(grid.transformed(affine.matrix)), SPLINE_SPACING)
    nephi.io.write_elastix_spline(folder / "TransformParameters.1.txt", spline, grid, "TransformParameters.0.txt")
    nephi.io.write_affine(folder / "slicer_linear.tfm", affine)
    nephi.io.write_displacement(folder / "slicer_warp.nii.gz", motion, grid, "slicer")
    coarse = grid.divided([n // 2 for n in grid.shape])
    nephi.io.export_transform(study.transform, coarse, folder / "slicer.h5", "h5")
    nephi.io.write_matrix_text(folder / "greedy_affine.mat", affine, nephi.io.FieldConvention("greedy"))
    nephi.io.write_matrix_text(folder / "flirt.mat", affine, nephi.io.FieldConvention("fsl", grid, moving))


def _sampled(transform: Transform, grid: Grid) -> Transform:
    """Return the displacements at the voxel centres, so that a slow transform is evaluated once."""
    import torch

    from nephi import transforms

    slabs = [displacement for _, _, displacement in transforms.displacement_slabs(transform, grid)]
    return transforms.DisplacementField(torch.cat(slabs, dim=-2), grid)


def _write_plane(folder: Path, seed: int) -> None:
    import nephi

    pair = nephi.phantoms.shapes_phantom(seed)
    for name in ("fixed", "moving", "fixed_mask", "moving_mask"):
        nephi.write_image(getattr(pair, name), folder / f"{name}.nii.gz")
    for name, channel in zip(("one", "two"), nephi.phantoms.two_channels(pair, width=40.0, seed=seed), strict=True):
        nephi.write_image(channel.fixed, folder / f"fixed_{name}.nii.gz")
        nephi.write_image(channel.moving, folder / f"moving_{name}.nii.gz")
    nephi.write_point_pairs(folder / "landmarks.csv", pair.landmarks)


def _write_shapes(folder: Path, seed: int) -> None:
    """Write a data set of shapes with its index."""
    import torch

    import nephi
    from nephi import datasets

    count = sum(SHAPES.values())
    pictures, inside = nephi.phantoms.silhouettes(count, torch.Generator().manual_seed(seed), SHAPE_SIZE)
    grid = nephi.Grid.from_spacing((SHAPE_SIZE,) * 2, (SHAPE_SPACING,) * 2)
    names = [f"shape{number:02d}" for number in range(count)]
    for kind, data in (("images", pictures), ("labels", inside.to(torch.uint8))):
        (folder / kind).mkdir()
        for name, values in zip(names, data, strict=True):
            nephi.write_image(nephi.Image(values, grid), folder / kind / f"{name}.nii.gz")
    images = tuple(
        datasets.DatasetImage(name, subject=name, image=f"images/{name}.nii.gz", labels=f"labels/{name}.nii.gz")
        for name in names
    )
    splits, first = {}, 0
    for split, size in SHAPES.items():
        splits[split] = datasets.DatasetSplit(tuple(names[first : first + size]), "between-subjects")
        first += size
    datasets.write_dataset_index(datasets.DatasetIndex("shapes", 2, images, splits), folder / "dataset.json")
