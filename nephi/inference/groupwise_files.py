"""Write the files of a group registration: transforms, warped images, their mean, and a summary."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from nephi.errors import DataError
from nephi.fields import nephi_bytes
from nephi.images import Image, resample
from nephi.inference.groupwise import GroupRegistration
from nephi.io import read_image, replacing_files, write_image, write_text
from nephi.optimize import Progress, ProgressCallback, ignore_progress

SUMMARY, MEAN = "group.json", "mean.nii.gz"
TRANSFORM, WARPED = "transform.nephi", "warped.nii.gz"


def check_group_folder(folder: Path, overwrite: bool) -> None:
    """Raise `DataError` for a path that is no folder, and without `overwrite` for a folder that is not empty."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: expected a folder for the results, got a file")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        advice = "choose another, or give --overwrite (Python: overwrite=True)"
        raise DataError(f"{folder}: the output folder is not empty; {advice}")


def save_group(
    group: GroupRegistration,
    folder: str | Path,
    *,
    overwrite: bool = False,
    outside: float = 0.0,
    progress: ProgressCallback = ignore_progress,
) -> Path:
    """Write a group registration to `folder`, and return the path of its summary.

    Every image gets a folder with `transform.nephi`, which maps points of the common frame to the image, and
    `warped.nii.gz`, the image on the grid of the group; `mean.nii.gz` is the mean of the warped images, whose voxels
    outside an image are `outside`. `group.json` lists the images, their masks if they were given, and the distances of
    their keypoints from the mean. One image is in memory at a time.

    The files appear together, when all are written; the summary is the last one.

    Raises `DataError` for a folder that cannot be written, or is not empty while `overwrite` is false.
    """
    root = Path(folder)
    check_group_folder(root, overwrite)
    with replacing_files(root, ()) as temporary:  # becomes `root` if that does not exist
        names = folder_names(group.images)
        _write_images(group, names, temporary, outside, progress)
        _write_summary(group, names, temporary)
        if root.is_dir():
            _move_files(temporary, root)
    return root / SUMMARY


def _write_images(
    group: GroupRegistration, names: Sequence[str], root: Path, outside: float, progress: ProgressCallback
) -> None:
    """Write the transforms, the warped images and their mean."""
    total = torch.zeros(group.grid.shape, dtype=torch.float32)
    for number, (path, name, stored) in enumerate(zip(group.images, names, group.transforms, strict=True), start=1):
        (root / name).mkdir()
        (root / name / TRANSFORM).write_bytes(nephi_bytes(stored))
        warped = resample(read_image(path), group.grid, stored.transform, "linear", outside)
        write_image(warped, root / name / WARPED)
        total += warped.data.float()
        progress(Progress("writing", number, len(names), 0.0))
    write_image(Image(total / len(names), group.grid, name="mean"), root / MEAN)


def _write_summary(group: GroupRegistration, names: Sequence[str], root: Path) -> None:
    rows = zip(names, group.images, group.distances_before, group.distances, strict=True)
    images = [
        {"folder": name, "image": str(path), "distance_before_mm": before, "distance_mm": after}
        for name, path, before, after in rows
    ]
    for row, mask in zip(images, group.masks, strict=False):  # without masks there are none
        row["mask"] = str(mask)
    write_text(root / SUMMARY, json.dumps({**group.about, "images": images}, indent=2) + "\n")


def _move_files(source: Path, root: Path) -> None:
    """Move the files of a group to an existing folder, whose other files stay; an old summary goes first."""
    files = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    for file in files:
        (root / file).parent.mkdir(exist_ok=True)
    (root / SUMMARY).unlink(missing_ok=True)
    for file in sorted(files, key=lambda file: file == Path(SUMMARY)):
        os.replace(source / file, root / file)


def folder_names(images: Sequence[Path]) -> list[str]:
    """Return a folder for each image: its file name without suffixes, with a number where several are equal."""
    stems = [path.name.split(".")[0] or "image" for path in images]
    counts: dict[str, int] = {}
    names: list[str] = []
    for stem in stems:
        name = stem
        while name.casefold() in counts:
            counts[stem.casefold()] += 1
            name = f"{stem}-{counts[stem.casefold()]}"
        counts[name.casefold()] = 1
        names.append(name)
    return names
