"""What the two DIR-Lab collections have in common: raw volumes without a header, and landmarks in voxels.

A volume is int16, little endian, x fastest, then y, then z (every public reader; `numpy.fromfile(path, "<i2")` in
uncbiag/robot and uncbiag/shapmagn). Values are Hounsfield units + 1024; voxels outside of the circle that the scanner
reconstructs hold less than 0, -2000 in the COPDgene volumes. They become -1024 HU, as air.

Landmarks are lines of x, y, z in voxels counted from 1, fractions allowed. DIR-Lab names the axes RL, AP, SI and puts
(1, 1, 1) at the centre of the right-anterior-superior corner voxel: x runs to the patient's left, y to the back, z to
the feet (quoted for the 4DCT cases in the public reader truemargin/dirlab.py). Readers of the COPDgene cases that set a
direction have z downwards as well; one finds it from the anatomy instead. The page gives no origin: the first voxel is
put at (0, 0, 0), the same for both phases. Should the slices of a volume run upwards, `first_slice` says so; landmarks
go along either way, for they are taken to the world by the image's own grid.
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
STORED_OUTSIDE = -1500  # below it no voxel was measured; the published value is -2000
STORED_FLOOR = -200  # -1224 HU when stored as HU + 1024: no noise of air reaches there


@dataclass(frozen=True)
class CaseGeometry:
    """Voxels along x, y, z, and their spacing in mm, as published: the files hold neither."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]

    def grid(self, first_slice: str) -> nephi.Grid:
        """Return the lattice in the world (RAS mm); `first_slice` is the `superior` or the `inferior` one."""
        x, y, z = self.spacing
        down = -z if first_slice == "superior" else z
        affine = [[-x, 0.0, 0.0, 0.0], [0.0, -y, 0.0, 0.0], [0.0, 0.0, down, 0.0], [0.0, 0.0, 0.0, 1.0]]
        return nephi.Grid(self.shape, affine)  # type: ignore[arg-type] # any matrix will do


@dataclass(frozen=True)
class Collection:
    """One of DIR-Lab's collections; patterns are of whole file names, in any case, `{n}` being the case's number.

    `distances` are the mean distances in mm between the 300 landmarks of the two phases, for a check of all the rest.
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
class Choices:
    """What the user decides about; see the options of the commands."""

    cases: tuple[int, ...]
    fixed: int
    train: tuple[int, ...] = ()
    val: tuple[int, ...] = ()
    masks: bool = True
    hu_offset: int = HU_OFFSET
    first_slice: str = "superior"


def prepare(raw: Path, folder: DatasetFolder, collection: Collection, choices: Choices) -> Path:
    """Write the cases chosen of a collection that lies in `raw`, in whatever folders; return the index's path."""
    if not raw.is_dir():
        raise nephi.DataError(f"{raw}: no such folder; expected the unpacked archives of {collection.name}")
    files = sorted(file for file in raw.rglob("*") if file.is_file() and not file.name.startswith("."))
    pairs = {n: _case(n, files, raw, folder, collection, choices) for n in choices.cases}
    chosen = {"train": choices.train, "val": choices.val}
    chosen["test"] = tuple(n for n in choices.cases if n not in (*choices.train, *choices.val))
    splits = {
        name: nephi.datasets.DatasetSplit(
            tuple(collection.subject.format(n=n) for n in numbers), tuple(pairs[n] for n in numbers)
        )
        for name, numbers in chosen.items()
        if numbers
    }
    return folder.write(folder.index(collection.name, splits, collection.source))


def _case(
    n: int, files: list[Path], raw: Path, folder: DatasetFolder, collection: Collection, choices: Choices
) -> nephi.datasets.DatasetPair:
    """Plan both phases of a case and its landmarks."""
    geometry = collection.cases[n]
    grid = geometry.grid(choices.first_slice)
    subject = collection.subject.format(n=n)
    phases = collection.phases if choices.fixed == 0 else collection.phases[::-1]
    images = [_find(files, collection.image_pattern.format(n=n, phase=phase), raw, subject) for phase in phases]
    points = [_find(files, collection.landmark_pattern.format(n=n, phase=phase), raw, subject) for phase in phases]
    for path, phase in zip(images, phases, strict=True):
        folder.add_image(
            f"{subject}-{phase}",
            subject,
            functools.partial(read_volume, path, geometry, choices.hu_offset, choices.first_slice),
            lung_mask if choices.masks else None,
            modality="CT",
        )
    fixed, moving = (f"{subject}-{phase}" for phase in phases)
    return folder.add_landmarks(
        fixed,
        moving,
        lambda: read_pairs(points[0], points[1], grid),
        functools.partial(compared, published=collection.distances.get(n)),
    )


def compared(landmarks: Path, published: float | None) -> str:
    """Say how far the landmarks of a pair are from each other, beside what is published."""
    pairs = nephi.read_point_pairs(landmarks)
    found = float((pairs.fixed.coordinates - pairs.moving.coordinates).norm(dim=1).mean())
    text = f"{landmarks.stem}: {len(pairs)} landmarks, {found:.2f} mm apart on average"
    if published is None:
        return text
    if abs(found - published) < 0.02:
        return f"{text}, as published"
    return f"{text}, published are {published:.2f} mm: is it this case, and are these its landmarks?"


def _find(files: list[Path], pattern: str, raw: Path, subject: str) -> Path:
    found = [file for file in files if re.fullmatch(pattern, file.name, re.IGNORECASE)]
    plain = re.sub(r"\([^()]*\)\?|0\?", "", re.sub(r"\([^()]*\)\?", "", pattern)).replace("\\", "")
    if not found:
        raise nephi.DataError(
            f"{raw}: no file named {plain} for {subject} in it or its folders; unpack the archive of {subject} "
            "there, or leave the case out with --cases"
        )
    if len(found) > 1:
        raise nephi.DataError(f"{raw}: two files for {subject}, {found[0]} and {found[1]}; leave one of them there")
    return found[0]


def read_volume(path: Path, geometry: CaseGeometry, hu_offset: int, first_slice: str) -> nephi.Image:
    """Read a raw volume as an image in HU (int16). Raises `DataError` for another size or other values than those."""
    import numpy as np
    import torch

    size, expected = path.stat().st_size, 2 * int(np.prod(geometry.shape))
    if size != expected:
        shape = " x ".join(map(str, geometry.shape))
        raise nephi.DataError(
            f"{path}: expected {expected} bytes, {shape} voxels of int16, found {size}; is the download complete, and "
            "is it this case (--geometry gives other sizes)?"
        )
    stored = np.fromfile(path, dtype="<i2").astype(np.int16, copy=False)
    inside = stored > STORED_OUTSIDE
    low = float(np.mean(stored[inside] < STORED_FLOOR)) if inside.any() else 0.0
    if hu_offset == HU_OFFSET and low > 0.02:
        raise nephi.DataError(
            f"{path}: expected HU + {HU_OFFSET}, found {low:.0%} of the voxels below {STORED_FLOOR}, which no tissue "
            "has; are these Hounsfield units already (--hu-offset 0), or another byte order?"
        )
    hu = np.where(inside, stored.astype(np.int32) - hu_offset, -HU_OFFSET)  # int16 would wrap
    hu = hu.clip(-HU_OFFSET, np.iinfo(np.int16).max).astype(np.int16)
    data = torch.from_numpy(hu.reshape(geometry.shape[::-1]).transpose(2, 1, 0))
    return nephi.Image(data, geometry.grid(first_slice), name=str(path))


def read_pairs(fixed: Path, moving: Path, grid: nephi.Grid) -> nephi.PointPairs:
    """Read the two files of corresponding landmarks. Raises `DataError` naming them when they do not go together."""
    sides = [nephi.read_points(path, format="dirlab", reference=grid) for path in (fixed, moving)]
    if len(sides[0]) != len(sides[1]):
        raise nephi.DataError(
            f"{moving}: expected {len(sides[0])} landmarks, as {fixed.name} has, found {len(sides[1])}; is it whole?"
        )
    return nephi.PointPairs(*sides)


def with_geometries(collection: Collection, path: Path | None) -> Collection:
    """Return the collection with cases added or replaced by a TOML file: `[9]`, `shape = [...]`, `spacing = [...]`."""
    if path is None:
        return collection
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        given = {int(n): CaseGeometry(_three(t["shape"], int), _three(t["spacing"], float)) for n, t in table.items()}
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise nephi.DataError(
            f"{path}: expected TOML tables such as [9] with shape = [512, 512, 116] and spacing = [0.664, 0.664, 2.5] "
            f"(x, y, z; mm), found {error}"
        ) from None
    known = {n: distance for n, distance in collection.distances.items() if n not in given}
    return replace(collection, cases={**collection.cases, **given}, distances=known)


def _three(values: list[float], kind: type) -> tuple[int, int, int]:
    """Three positive, finite numbers of a kind; mypy is told they are whole, floats fit as well."""
    if not all(math.isfinite(value) and value > 0 and kind(value) == value for value in values):
        raise ValueError(f"{values}")
    x, y, z = (kind(value) for value in values)
    return x, y, z
