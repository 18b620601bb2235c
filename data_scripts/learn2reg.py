"""Learn2Reg's tasks (NLST, LungCT, OASIS and others in the same format), from their `*_dataset.json`.

Hering A et al. (2023), Learn2Reg: comprehensive multi-task medical image registration challenge, dataset and evaluation
in the era of deep learning, IEEE Trans Med Imaging 42:697-712. The format is that of the challenge's evaluation
(github.com/MDL-UzL/L2R): images are `imagesTr/NAME_SSSS_MMMM.nii.gz`, S the subject, M the modality or phase; masks,
labels, landmarks and keypoints have the same name in `masksTr`, `labelsTr`, `landmarksTr`, `keypointsTr`, points as
`.csv` without a header: voxels counted from 0, in the order of the array's axes. `training_paired_images`,
`registration_val` and `registration_test` list `fixed` and `moving`. Tasks between subjects (OASIS) pair at random.

Manual landmarks take precedence over keypoints, which an algorithm detected. Some entries name keypoints that do not
exist (with `.nii.gz`), so companion files are searched by folder, as in the evaluation. Voxel values are not changed.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path, PurePosixPath
from typing import Any

import click

import nephi

from .layout import DatasetFolder, lung_mask
from .options import FILE, masks_option, output_options, printer
from .sources import PAGES

LISTS = {"train": "training_paired_images", "val": "registration_val", "test": "registration_test"}
POINTS = ("landmarks", "keypoints")
NamePair = tuple[str, str]


@click.command(short_help="Learn2Reg: NLST, LungCT, OASIS and other tasks in their format.")
@click.argument("raw", type=FILE)
@output_options
@masks_option
@click.option("--skip-missing", is_flag=True, help="Exclude pairs and images whose files are missing.")
def learn2reg(raw: Path, output: Path, overwrite: bool, quiet: bool, masks: bool, skip_missing: bool) -> None:
    """Prepare a Learn2Reg task from RAW, the folder of its NAME_dataset.json, or that file.

    \b
    python -m data_scripts learn2reg raw/NLST -o datasets/nlst

    Validation pairs become `val`, test pairs `test`; subjects of either are excluded from training.
    """
    path = dataset_json(raw)
    recipe = {"command": "learn2reg", "task": path.name, "masks": masks, "skip_missing": skip_missing}
    prepare(path, DatasetFolder(output, recipe, overwrite, printer(quiet)), masks, skip_missing)


def dataset_json(raw: Path) -> Path:
    """Return `raw` if it is a file, else its only `*_dataset.json`."""
    if raw.is_file():
        return raw
    files = sorted(raw.glob("*_dataset.json"))
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise nephi.DataError(f"{raw}: expected one file NAME_dataset.json in it, found {names}; give the file itself")
    return files[0]


def prepare(path: Path, folder: DatasetFolder, masks: bool, skip_missing: bool) -> Path:
    """Write the data set of the task with the JSON file `path`; return the path of the index."""
    table = _read_task(path)
    lists = {split: _pairs(path, table, key) for split, key in LISTS.items()}
    unpaired = [] if lists["train"] else _unpaired(path, table)
    names = list(dict.fromkeys([*(n for pairs in lists.values() for pair in pairs for n in pair), *unpaired]))
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing and not skip_missing:
        raise nephi.DataError(
            f"{path}: expected {missing[0]} in its folder, found no such file ({len(missing)} of {len(names)} images "
            "are missing); unpack the whole archive there, or exclude such pairs with --skip-missing"
        )
    absent = set(missing)
    lists = {split: [pair for pair in pairs if not absent & set(pair)] for split, pairs in lists.items()}
    held_out = {subject_of(name) for split in ("val", "test") for pair in lists[split] for name in pair}
    test = {subject_of(name) for pair in lists["test"] for name in pair}
    lists["train"] = [pair for pair in lists["train"] if not held_out & set(map(subject_of, pair))]
    lists["val"] = [pair for pair in lists["val"] if not test & set(map(subject_of, pair))]
    training = [name for name in unpaired if name not in absent and subject_of(name) not in held_out]

    paired = [name for split in ("train", "val", "test") for pair in lists[split] for name in pair]
    for name in sorted({*paired, *training}):
        _add_image(path.parent, name, folder, table, masks)
    splits = {split: _split(path.parent, pairs, folder) for split, pairs in lists.items() if pairs}
    if training:
        split = nephi.datasets.DatasetSplit(_subjects(training), "between-subjects")
        splits = {"train": split, **splits}
    licence = table.get("licence") or "see the page"
    source = nephi.datasets.DatasetSource(table.get("reference") or licence, licence, PAGES["learn2reg"])
    try:
        index = folder.index(f"Learn2Reg {table.get('name') or path.stem}", splits, source)
    except nephi.DataError as error:
        raise nephi.DataError(f"{path}: {error}") from None
    return folder.write(index)


def _read_task(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise nephi.DataError(f"{path}: expected JSON, found an error ({error}); is the file complete?") from None
    if not isinstance(table, dict) or not (set(LISTS.values()) | {"training"}) & set(table):
        raise nephi.DataError(
            f"{path}: expected the JSON of a task, with {', '.join(LISTS.values())}, found none of them"
        )
    for key in ("name", "reference", "licence"):
        if not isinstance(table.get(key), str | None):
            raise nephi.DataError(f"{path}: {key}: expected a text, found {json.dumps(table[key])[:60]}")
    modality = table.get("modality")
    if not isinstance(modality, dict | None) or not all(isinstance(text, str) for text in (modality or {}).values()):
        raise nephi.DataError(
            f'{path}: modality: expected texts by number such as {{"0": "CT"}}, found {json.dumps(modality)[:60]}'
        )
    return table


def _pairs(path: Path, table: dict[str, Any], key: str) -> list[NamePair]:
    try:
        return [(_name(entry["fixed"]), _name(entry["moving"])) for entry in table.get(key) or []]
    except (KeyError, TypeError, AttributeError):
        raise nephi.DataError(f"{path}: {key}: expected a list of objects with fixed and moving") from None


def _unpaired(path: Path, table: dict[str, Any]) -> list[str]:
    """Return the images of `training`, for tasks without training pairs."""
    try:
        return [_name(entry["image"]) for entry in table.get("training") or []]
    except (KeyError, TypeError, AttributeError):
        raise nephi.DataError(f"{path}: training: expected a list of objects with image") from None


def _name(path: str) -> str:
    return str(PurePosixPath(path.removeprefix("./")))


def id_of(name: str) -> str:
    """Return `NLST_0001_0000` of `imagesTr/NLST_0001_0000.nii.gz`."""
    return PurePosixPath(name).name.removesuffix(".gz").removesuffix(".nii")


def subject_of(name: str) -> str:
    """Return `NLST_0001` of `imagesTr/NLST_0001_0000.nii.gz`."""
    return id_of(name).rpartition("_")[0] or id_of(name)


def _subjects(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(subject_of, names)))


def _companion(root: Path, name: str, folder: str, suffix: str = "") -> Path | None:
    path = root / name.replace("images", folder, 1)
    path = path.with_name(id_of(name) + suffix) if suffix else path
    return path if path.is_file() else None


def _add_image(root: Path, name: str, folder: DatasetFolder, table: dict[str, Any], masks: bool) -> None:
    number = id_of(name).rpartition("_")[2]
    modality = (table.get("modality") or {}).get(str(int(number)) if number.isdecimal() else number)
    mask, labels = (_companion(root, name, kind) for kind in ("masks", "labels"))
    lungs = lung_mask if masks and modality == "CT" else None
    folder.add_image(
        id_of(name),
        subject_of(name),
        lambda: nephi.read_image(root / name),
        (lambda _: nephi.read_image(mask)) if mask else lungs,
        (lambda _: nephi.read_image(labels)) if labels else None,
        modality,
    )


def _split(root: Path, pairs: list[NamePair], folder: DatasetFolder) -> nephi.datasets.DatasetSplit:
    return nephi.datasets.DatasetSplit(
        _subjects([name for pair in pairs for name in pair]),
        tuple(_add_pair(root, fixed, moving, folder) for fixed, moving in pairs),
    )


def _add_pair(root: Path, fixed: str, moving: str, folder: DatasetFolder) -> nephi.datasets.DatasetPair:
    for kind in POINTS:
        fixed_points, moving_points = (_companion(root, name, kind, ".csv") for name in (fixed, moving))
        if fixed_points and moving_points:
            read = functools.partial(_read_pairs, (root / fixed, fixed_points), (root / moving, moving_points))
            return folder.add_landmarks(id_of(fixed), id_of(moving), read)
    return nephi.datasets.DatasetPair(id_of(fixed), id_of(moving))


def _read_pairs(fixed: tuple[Path, Path], moving: tuple[Path, Path]) -> nephi.PointPairs:
    """Read the corresponding points of two images; each argument is the path of an image and that of its points."""
    sides = [_read_points(*side) for side in (fixed, moving)]
    if len(sides[0]) != len(sides[1]):
        raise nephi.DataError(
            f"{moving[1]}: expected {len(sides[0])} points like {fixed[1].name}, found {len(sides[1])}"
        )
    return nephi.PointPairs(*sides)


def _read_points(image: Path, path: Path) -> nephi.Points:
    """Read points in voxels counted from 0; return them as world points."""
    import torch

    grid = nephi.read_image(image).grid
    try:
        rows = [
            [float(word) for word in line.split(",")]
            for line in path.read_text(encoding="utf-8").splitlines()
            if line.strip()
        ]
        voxels = torch.tensor(rows, dtype=torch.float64).reshape(len(rows), grid.dimension)
    except (ValueError, RuntimeError) as error:
        raise nephi.DataError(
            f"{path}: expected lines of {grid.dimension} numbers, voxels without a header, found {error}"
        ) from None
    if not bool(grid.contains_voxel_points(voxels).all()):
        raise nephi.DataError(f"{path}: expected voxels within {grid.shape}, counted from 0, found some outside")
    return nephi.Points(grid.voxel_to_world_points(voxels))
