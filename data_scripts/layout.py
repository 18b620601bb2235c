"""The folder of a data set: validated before anything is written, each file written atomically, the index last.

`preparation.json` stores the command and options that the files were created with. A run with the same options keeps
existing files, so an interrupted run can be resumed; other options need another folder, or `--overwrite`. The latter
moves the old data set to `replaced/`, where it stays complete until the new one is.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nephi

Read = Callable[[], nephi.Image]
Derive = Callable[[nephi.Image], nephi.Image]
FOLDERS = ("images", "masks", "labels", "landmarks")
INDEX, NOTE, REPLACED = "dataset.json", "preparation.json", "replaced"


class DatasetFolder:
    """The folder of one data set. `recipe` are the options that determine its files; `report` prints a line.

    `add_image` and `add_landmarks` plan files, `index` validates the plan, `write` writes it.
    """

    def __init__(self, folder: Path, recipe: dict[str, Any], overwrite: bool, report: Callable[[str], None]) -> None:
        self.folder = folder
        self.report = report
        self._overwrite = overwrite
        self._images: list[nephi.datasets.DatasetImage] = []
        self._jobs: list[Callable[[], None]] = []
        self._dimension: int | None = None
        self._recipe = json.dumps(recipe, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        if (folder / NOTE).is_file() or (folder / REPLACED / NOTE).is_file():
            has_files = any((folder / name).exists() for name in (*FOLDERS, REPLACED))
            if has_files and not overwrite and not self._same_recipe():
                raise nephi.UsageError(
                    f"{folder}: was created by another command or with other options (see its {NOTE}); "
                    "use the same options, another folder, or --overwrite"
                )
        elif folder.exists() and any(folder.iterdir()):
            raise nephi.UsageError(f"{folder}: expected a new or empty folder, found files of no data set")

    def _same_recipe(self) -> bool:
        note = self.folder / NOTE
        return note.is_file() and note.read_text(encoding="utf-8") == self._recipe

    def add_image(
        self,
        id: str,
        subject: str,
        read: Read,
        mask: Derive | None = None,
        labels: Derive | None = None,
        modality: str | None = None,
    ) -> nephi.datasets.DatasetImage:
        """Plan an image, its mask and its labels, both derived from the image; return its entry in the index."""
        functions = {"masks": mask, "labels": labels}
        derived = {folder: derive for folder, derive in functions.items() if derive is not None}
        paths = {folder: f"{folder}/{id}.nii.gz" for folder in ("images", *derived)}
        entry = nephi.datasets.DatasetImage(
            id, subject, paths["images"], paths.get("masks"), paths.get("labels"), modality
        )
        self._images.append(entry)
        self._jobs.append(functools.partial(self._write_image_files, paths, read, derived))
        return entry

    def _write_image_files(self, paths: dict[str, str], read: Read, derived: dict[str, Derive]) -> None:
        """Write the missing files of an image."""
        read = functools.cache(read)  # at most once, and not at all when all files exist
        self._write_missing(paths["images"], read)
        for folder, derive in derived.items():
            self._write_missing(paths[folder], functools.partial(_read_and_derive, read, derive))

    def _write_missing(self, relative: str, compute: Read) -> None:
        path = self.folder / relative
        if path.is_file():
            if self._dimension is None:
                self._dimension = nephi.read_image(path).dimension
            self.report(f"{relative}: exists")
            return
        image = compute()
        self._dimension = self._dimension or image.dimension
        if image.dimension != self._dimension:
            raise nephi.DataError(
                f"{image.name}: expected a {self._dimension}-D image like the first one, found {image.dimension}-D; "
                "create two data sets"
            )
        path.parent.mkdir(exist_ok=True)
        nephi.write_image(image, path)
        self.report(f"{relative}: written")

    def add_landmarks(
        self,
        fixed: str,
        moving: str,
        read: Callable[[], nephi.PointPairs],
        describe: Callable[[Path], str] | None = None,
    ) -> nephi.datasets.DatasetPair:
        """Plan the landmarks of a pair of images, given by their ids, as nephi's CSV in LPS; return the pair.

        `describe` returns a line about the written file.
        """
        relative = f"landmarks/{fixed}--{moving}.csv"
        self._jobs.append(functools.partial(self._write_landmarks, relative, read, describe))
        return nephi.datasets.DatasetPair(fixed, moving, relative)

    def _write_landmarks(
        self, relative: str, read: Callable[[], nephi.PointPairs], describe: Callable[[Path], str] | None
    ) -> None:
        path = self.folder / relative
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            nephi.write_point_pairs(path, read(), "lps")
            self.report(f"{relative}: written")
        if describe is not None:
            self.report(describe(path))

    def index(
        self, name: str, splits: dict[str, nephi.datasets.DatasetSplit], source: nephi.datasets.DatasetSource
    ) -> nephi.datasets.DatasetIndex:
        """Return the index of the planned files, without writing. Raises `DataError` when the plan is inconsistent."""
        # 3-D for now: the dimension is known when the images are read.
        return nephi.datasets.DatasetIndex(name, 3, tuple(self._images), splits, source, self.folder)

    def write(self, index: nephi.datasets.DatasetIndex) -> Path:
        """Write the planned files that do not exist, then `index`; return its path."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / INDEX
        old = self.folder / REPLACED
        if self._overwrite or (old.exists() and not path.is_file()):
            self._move_old_files()
        nephi.io.write_text(self.folder / NOTE, self._recipe)
        for job in self._jobs:
            job()
        nephi.datasets.write_dataset_index(replace(index, dimension=self._dimension or 3), path)
        if old.exists():
            shutil.rmtree(old)
        counts = ", ".join(f"{len(index.pairs(split))} {split}" for split in index.splits)
        self.report(f"{path}: {len(index.images)} images; pairs: {counts}")
        return path

    def _move_old_files(self) -> None:
        """Move the old data set to `replaced/`; complete the move of an interrupted run."""
        old = self.folder / REPLACED
        if (self.folder / INDEX).is_file() and old.exists():
            shutil.rmtree(old)  # left by a run that was interrupted after its index was written
        if not (old / NOTE).is_file():
            for name in (INDEX, *FOLDERS, NOTE):  # the note last: it marks a completed move
                if (self.folder / name).exists():
                    old.mkdir(exist_ok=True)
                    os.replace(self.folder / name, old / name)
        elif not self._same_recipe():
            for name in FOLDERS:  # of an incomplete run with other options
                shutil.rmtree(self.folder / name, ignore_errors=True)
        if old.exists():
            self.report(f"{old}: keeps the old data set until the new one is complete")


def _read_and_derive(read: Read, derive: Derive) -> nephi.Image:
    return derive(read())


def lung_mask(image: nephi.Image) -> nephi.Image:
    """Return nephi's mask of the lungs in a CT, on the grid of the image."""
    return nephi.resample(nephi.images.find_lungs(image), image.grid, lambda points: points, "nearest")
