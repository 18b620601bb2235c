"""Common parts of both DIR-Lab collections: raw volumes without a header, and landmarks in voxels.

A volume is int16, little endian, x fastest, then y, then z (all public readers; `numpy.fromfile(path, "<i2")` in
uncbiag/robot and uncbiag/shapmagn). Values are Hounsfield units + 1024; voxels outside of the circle that the scanner
reconstructs are negative, -2000 in the COPDgene volumes. They become -1024 HU, like air.

Landmarks are lines of x, y, z in voxels counted from 1, fractions allowed. DIR-Lab names the axes RL, AP, SI and puts
(1, 1, 1) at the centre of the right-anterior-superior corner voxel: x runs to the patient's left, y to the back, z to
the feet (quoted for the 4DCT cases in the public reader truemargin/dirlab.py). Readers of the COPDgene cases that set a
direction have z downwards as well; one derives it from the anatomy. The page gives no origin: the first voxel is put at
(0, 0, 0) in both phases. For volumes whose slices run upwards set `first_slice`; landmarks follow, because they are
mapped to world coordinates by the image's grid.
"""

from __future__ import annotations

import functools
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import nephi

from .layout import DatasetFolder, lung_mask

HU_OFFSET = 1024
STORED_OUTSIDE = -1500  # smaller stored values lie outside of the reconstructed circle; published is -2000
STORED_FLOOR = -200  # -1224 HU when stored as HU + 1024: below the noise of air


@dataclass(frozen=True)
class CaseGeometry:
    """Voxels along x, y, z, and their spacing in mm, as published: the files contain neither."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]

    def grid(self, first_slice: str) -> nephi.Grid:
        """Return the grid (world RAS mm); `first_slice` is `superior` or `inferior`."""
        x, y, z = self.spacing
        slice_step = -z if first_slice == "superior" else z
        affine = [[-x, 0.0, 0.0, 0.0], [0.0, -y, 0.0, 0.0], [0.0, 0.0, slice_step, 0.0], [0.0, 0.0, 0.0, 1.0]]
        return nephi.Grid(self.shape, affine)  # type: ignore[arg-type] # Grid converts nested lists


@dataclass(frozen=True)
class Collection:
    """One of DIR-Lab's collections; patterns match file names, ignoring case, with `{n}` for the number of the case.

    `distances` are the published mean distances in mm between the 300 landmarks of both phases, to verify the geometry.
    """

    name: str
    subject: str
    phases: tuple[str, str]
    image_pattern: str
    landmark_pattern: str
    cases: Mapping[int, CaseGeometry]
    distances: Mapping[int, float]
    source: nephi.datasets.DatasetSource


@dataclass(frozen=True)
class DirlabSettings:
    """Settings of a conversion; see the options of the commands."""

    cases: tuple[int, ...]
    fixed: int
    train: tuple[int, ...] = ()
    val: tuple[int, ...] = ()
    masks: bool = True
    hu_offset: int = HU_OFFSET
    first_slice: str = "superior"


def prepare(raw: Path, folder: DatasetFolder, collection: Collection, settings: DirlabSettings) -> Path:
    """Convert the selected cases of a collection in `raw` or any of its subfolders; return the path of the index."""
    if not raw.is_dir():
        raise nephi.DataError(f"{raw}: no such folder; expected the unpacked archives of {collection.name}")
    files = sorted(file for file in raw.rglob("*") if file.is_file() and not file.name.startswith("."))
    pairs = {n: _add_case(n, files, raw, folder, collection, settings) for n in settings.cases}
    cases = {"train": settings.train, "val": settings.val}
    cases["test"] = tuple(n for n in settings.cases if n not in (*settings.train, *settings.val))
    splits = {
        name: nephi.datasets.DatasetSplit(
            tuple(collection.subject.format(n=n) for n in numbers), tuple(pairs[n] for n in numbers)
        )
        for name, numbers in cases.items()
        if numbers
    }
    return folder.write(folder.index(collection.name, splits, collection.source))


def _add_case(
    n: int, files: list[Path], raw: Path, folder: DatasetFolder, collection: Collection, settings: DirlabSettings
) -> nephi.datasets.DatasetPair:
    """Add both phases of a case and its landmarks to the folder's plan."""
    geometry = collection.cases[n]
    grid = geometry.grid(settings.first_slice)
    subject = collection.subject.format(n=n)
    phases = collection.phases if settings.fixed == 0 else collection.phases[::-1]
    images = [_find_file(files, collection.image_pattern.format(n=n, phase=phase), raw, subject) for phase in phases]
    points = [_find_file(files, collection.landmark_pattern.format(n=n, phase=phase), raw, subject) for phase in phases]
    for path, phase in zip(images, phases, strict=True):
        folder.add_image(
            f"{subject}-{phase}",
            subject,
            functools.partial(read_volume, path, geometry, settings.hu_offset, settings.first_slice),
            lung_mask if settings.masks else None,
            modality="CT",
        )
    fixed, moving = (f"{subject}-{phase}" for phase in phases)
    return folder.add_landmarks(
        fixed,
        moving,
        lambda: read_pairs(points[0], points[1], grid),
        functools.partial(describe_distance, published=collection.distances.get(n)),
    )


def describe_distance(landmarks: Path, published: float | None) -> str:
    """Return a line that compares the mean distance of corresponding landmarks with the published one."""
    pairs = nephi.read_point_pairs(landmarks)
    distance = float((pairs.fixed.coordinates - pairs.moving.coordinates).norm(dim=1).mean())
    text = f"{landmarks.stem}: {len(pairs)} landmarks, mean distance {distance:.2f} mm"
    if published is None:
        return text
    if abs(distance - published) < 0.02:
        return f"{text}, as published"
    return f"{text}, but {published:.2f} mm is published: check that image and landmarks are those of this case"


def _find_file(files: list[Path], pattern: str, raw: Path, subject: str) -> Path:
    matches = [file for file in files if re.fullmatch(pattern, file.name, re.IGNORECASE)]
    example = re.sub(r"\([^()]*\)\?|0\?", "", re.sub(r"\([^()]*\)\?", "", pattern)).replace("\\", "")
    if not matches:
        raise nephi.DataError(
            f"{raw}: expected a file {example} for {subject} in it or its subfolders, found none; unpack the archive "
            f"of {subject} there, or exclude the case with --cases"
        )
    if len(matches) > 1:
        raise nephi.DataError(f"{raw}: two files for {subject}, {matches[0]} and {matches[1]}; keep one of them")
    return matches[0]


def read_volume(path: Path, geometry: CaseGeometry, hu_offset: int, first_slice: str) -> nephi.Image:
    """Read a raw volume as an image in HU (int16). Raises `DataError` for a wrong file size or implausible values."""
    import numpy as np
    import torch

    size, expected = path.stat().st_size, 2 * int(np.prod(geometry.shape))
    if size != expected:
        shape = " x ".join(map(str, geometry.shape))
        raise nephi.DataError(
            f"{path}: expected {expected} bytes, {shape} voxels of int16, found {size}; check that the download is "
            "complete and belongs to this case (--geometry sets other sizes)"
        )
    stored = np.fromfile(path, dtype="<i2").astype(np.int16, copy=False)
    inside = stored > STORED_OUTSIDE
    low_fraction = float(np.mean(stored[inside] < STORED_FLOOR)) if inside.any() else 0.0
    if hu_offset == HU_OFFSET and low_fraction > 0.02:
        raise nephi.DataError(
            f"{path}: expected HU + {HU_OFFSET}, found {low_fraction:.0%} of the voxels below {STORED_FLOOR}, lower "
            "than any tissue; the file may contain Hounsfield units (--hu-offset 0) or have another byte order"
        )
    hu = np.where(inside, stored.astype(np.int32) - hu_offset, -HU_OFFSET)  # int16 could overflow
    hu = hu.clip(-HU_OFFSET, np.iinfo(np.int16).max).astype(np.int16)
    data = torch.from_numpy(hu.reshape(geometry.shape[::-1]).transpose(2, 1, 0))
    return nephi.Image(data, geometry.grid(first_slice), name=str(path))


def read_pairs(fixed: Path, moving: Path, grid: nephi.Grid) -> nephi.PointPairs:
    """Read the two files of corresponding landmarks. Raises `DataError` when they differ in length."""
    sides = [nephi.read_points(path, format="dirlab", reference=grid) for path in (fixed, moving)]
    if len(sides[0]) != len(sides[1]):
        raise nephi.DataError(
            f"{moving}: expected {len(sides[0])} landmarks like {fixed.name}, found {len(sides[1])}; is it complete?"
        )
    return nephi.PointPairs(*sides)


def with_geometries(collection: Collection, path: Path | None) -> Collection:
    """Return the collection with cases added or replaced by a TOML file: `[9]`, `shape = [...]`, `spacing = [...]`."""
    if path is None:
        return collection
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        cases = {int(n): CaseGeometry(_three(t["shape"], int), _three(t["spacing"], float)) for n, t in table.items()}
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise nephi.DataError(
            f"{path}: expected TOML tables such as [9] with shape = [512, 512, 116] and spacing = [0.664, 0.664, 2.5] "
            f"(x, y, z; mm), found {error}"
        ) from None
    distances = {n: distance for n, distance in collection.distances.items() if n not in cases}
    return replace(collection, cases={**collection.cases, **cases}, distances=distances)


def _three(values: list[float], kind: type) -> tuple[int, int, int]:
    """Return three positive finite numbers of a kind, int or float; annotated as int, which mypy accepts for float."""
    if not all(math.isfinite(value) and value > 0 and kind(value) == value for value in values):
        raise ValueError(f"{values}")
    x, y, z = (kind(value) for value in values)
    return x, y, z
