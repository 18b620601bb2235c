"""A data set as it is written: each file whole or not at all, the index last; nothing before all is known to fit.

`preparation.json` holds the command and the options that the files were made with. What is there already was made the
same way and is not made again, so that an interrupted run goes on; other options need another folder, or `--overwrite`.
That one moves the old data set to `replaced/`, where it stays whole until the new one is complete.
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
    """The folder of one data set. `recipe` is all that decides about its contents, `say` takes lines for the user.

    `add_image` and `add_landmarks` plan, `index` checks that what was planned goes together, `write` writes it.
    """

    def __init__(self, folder: Path, recipe: dict[str, Any], overwrite: bool, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.say = say
        self._overwrite = overwrite
        self._images: list[nephi.datasets.DatasetImage] = []
        self._jobs: list[Callable[[], None]] = []
        self._dimension: int | None = None
        self._recipe = json.dumps(recipe, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        if (folder / NOTE).is_file() or (folder / REPLACED / NOTE).is_file():
            begun = any((folder / name).exists() for name in (*FOLDERS, REPLACED))
            if begun and not overwrite and not self._same_recipe():
                raise nephi.UsageError(
                    f"{folder}: was made by another command or with other options (see {NOTE} there); "
                    "give the same, another folder, or --overwrite"
                )
        elif folder.exists() and any(folder.iterdir()):
            raise nephi.UsageError(f"{folder}: expected a new or empty folder, found files that are not of a data set")

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
        """Plan an image, its mask and its labels, which are made of the image read; return its entry."""
        derived = {"masks": mask, "labels": labels}
        made = {folder: derive for folder, derive in derived.items() if derive is not None}
        paths = {folder: f"{folder}/{id}.nii.gz" for folder in ("images", *made)}
        entry = nephi.datasets.DatasetImage(
            id, subject, paths["images"], paths.get("masks"), paths.get("labels"), modality
        )
        self._images.append(entry)
        self._jobs.append(functools.partial(self._make_image, paths, read, made))
        return entry

    def _make_image(self, paths: dict[str, str], read: Read, made: dict[str, Derive]) -> None:
        """Write what is missing of an image."""
        read = functools.cache(read)  # at most once, and not at all when everything is there
        self._make(paths["images"], read)
        for folder, derive in made.items():
            self._make(paths[folder], functools.partial(_derived, read, derive))

    def _make(self, relative: str, make: Read) -> None:
        path = self.folder / relative
        if path.is_file():
            if self._dimension is None:
                self._dimension = nephi.read_image(path).dimension
            self.say(f"{relative}: there already")
            return
        image = make()
        self._dimension = self._dimension or image.dimension
        if image.dimension != self._dimension:
            raise nephi.DataError(
                f"{image.name}: expected a {self._dimension}-D image, as the first one, found {image.dimension}-D; "
                "make two data sets"
            )
        path.parent.mkdir(exist_ok=True)
        nephi.write_image(image, path)
        self.say(f"{relative}: written")

    def add_landmarks(
        self,
        fixed: str,
        moving: str,
        read: Callable[[], nephi.PointPairs],
        describe: Callable[[Path], str] | None = None,
    ) -> nephi.datasets.DatasetPair:
        """Plan the landmarks of a pair of images, given by their ids, as nephi's CSV in LPS; return the pair.

        `describe` says a line about the file when it is there.
        """
        relative = f"landmarks/{fixed}--{moving}.csv"
        self._jobs.append(functools.partial(self._make_landmarks, relative, read, describe))
        return nephi.datasets.DatasetPair(fixed, moving, relative)

    def _make_landmarks(
        self, relative: str, read: Callable[[], nephi.PointPairs], describe: Callable[[Path], str] | None
    ) -> None:
        path = self.folder / relative
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            nephi.write_point_pairs(path, read(), "lps")
            self.say(f"{relative}: written")
        if describe is not None:
            self.say(describe(path))

    def index(
        self, name: str, splits: dict[str, nephi.datasets.DatasetSplit], source: nephi.datasets.DatasetSource
    ) -> nephi.datasets.DatasetIndex:
        """Return the index of what is planned. Raises `DataError` when it does not go together; writes nothing."""
        # Whether the images are 2-D or 3-D is known when they are read.
        return nephi.datasets.DatasetIndex(name, 3, tuple(self._images), splits, source, self.folder)

    def write(self, index: nephi.datasets.DatasetIndex) -> Path:
        """Write what was planned and is not there yet, and then `index`; return its path."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / INDEX
        old = self.folder / REPLACED
        if self._overwrite or (old.exists() and not path.is_file()):
            self._set_aside()
        nephi.io.write_text(self.folder / NOTE, self._recipe)
        for job in self._jobs:
            job()
        nephi.datasets.write_dataset_index(replace(index, dimension=self._dimension or 3), path)
        if old.exists():
            shutil.rmtree(old)
        counts = ", ".join(f"{len(index.pairs(split))} {split}" for split in index.splits)
        self.say(f"{path}: {len(index.images)} images; pairs: {counts}")
        return path

    def _set_aside(self) -> None:
        """Move the old data set to `replaced/`, or go on with a run that had done so, all or in part."""
        old = self.folder / REPLACED
        if (self.folder / INDEX).is_file() and old.exists():
            shutil.rmtree(old)  # left by a run that was complete but for this
        if not (old / NOTE).is_file():
            for name in (INDEX, *FOLDERS, NOTE):  # the note last: where it is, all the rest is
                if (self.folder / name).exists():
                    old.mkdir(exist_ok=True)
                    os.replace(self.folder / name, old / name)
        elif not self._same_recipe():
            for name in FOLDERS:  # of yet another recipe, and never complete
                shutil.rmtree(self.folder / name, ignore_errors=True)
        if old.exists():
            self.say(f"{old}: holds the data set as it was, until the new one is complete")


def _derived(read: Read, derive: Derive) -> nephi.Image:
    return derive(read())


def lung_mask(image: nephi.Image) -> nephi.Image:
    """Return the lungs that nephi finds in a CT, on the grid of the image."""
    return nephi.resample(nephi.images.find_lungs(image), image.grid, lambda points: points, "nearest")
