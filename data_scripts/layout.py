"""A data set as it is written: each file whole or not at all, the index last.

`preparation.json` holds the command and the options that the files were made with. What is there already was made the
same way and is not made again, so that an interrupted run goes on; other options need another folder.
"""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nephi

Read = Callable[[], nephi.Image]
Derive = Callable[[nephi.Image], nephi.Image]
FOLDERS = ("images", "masks", "labels", "landmarks")


class DatasetFolder:
    """The folder of one data set. `recipe` is all that decides about its contents, `say` takes lines for the user."""

    def __init__(self, folder: Path, recipe: dict[str, Any], overwrite: bool, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.say = say
        self._images: list[nephi.DatasetImage] = []
        self._dimension: int | None = None
        text = json.dumps(recipe, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        note = folder / "preparation.json"
        if note.is_file():
            if overwrite:
                for name in FOLDERS:
                    shutil.rmtree(folder / name, ignore_errors=True)
                (folder / "dataset.json").unlink(missing_ok=True)
            elif note.read_text(encoding="utf-8") != text and any((folder / name).exists() for name in FOLDERS):
                raise nephi.UsageError(
                    f"{folder}: was made by another command or with other options (see {note.name} there); "
                    "give the same, another folder, or --overwrite"
                )
        elif folder.exists() and any(folder.iterdir()):
            raise nephi.UsageError(f"{folder}: expected a new or empty folder, found files that are not of a data set")
        folder.mkdir(parents=True, exist_ok=True)
        nephi.write_text(note, text)

    def add_image(
        self,
        id: str,
        subject: str,
        read: Read,
        mask: Derive | None = None,
        labels: Derive | None = None,
        modality: str | None = None,
    ) -> nephi.DatasetImage:
        """Write what is missing of an image, its mask and its labels, which are made of the image read; note it."""
        read = functools.cache(read)  # at most once, and not at all when everything is there
        files = {"image": self._write("images", id, read)}
        for key, folder, derive in (("mask", "masks", mask), ("labels", "labels", labels)):
            if derive is not None:
                files[key] = self._write(folder, id, functools.partial(_derived, read, derive))
        entry = nephi.DatasetImage(id, subject, modality=modality, **files)
        self._images.append(entry)
        return entry

    def _write(self, folder: str, id: str, make: Read) -> str:
        relative = f"{folder}/{id}.nii.gz"
        path = self.folder / relative
        if path.is_file():
            if self._dimension is None:
                self._dimension = nephi.read_image(path).dimension
            self.say(f"{relative}: there already")
            return relative
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
        return relative

    def add_landmarks(self, fixed: str, moving: str, read: Callable[[], nephi.PointPairs]) -> nephi.DatasetPair:
        """Write the landmarks of a pair of images, given by their ids, as nephi's CSV in LPS; return the pair."""
        relative = f"landmarks/{fixed}--{moving}.csv"
        path = self.folder / relative
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            nephi.write_point_pairs(path, read(), "lps")
            self.say(f"{relative}: written")
        return nephi.DatasetPair(fixed, moving, relative)

    def finish(self, name: str, splits: dict[str, nephi.DatasetSplit], source: nephi.DatasetSource) -> Path:
        """Write the index; return its path."""
        path = self.folder / "dataset.json"
        images = tuple(self._images)
        if not images:
            raise nephi.DataError(f"{self.folder}: no image was found to write")
        index = nephi.DatasetIndex(name, self._dimension or 3, images, splits, source, self.folder)
        nephi.write_dataset_index(index, path)
        counts = ", ".join(f"{len(index.pairs(split))} {split}" for split in splits)
        self.say(f"{path}: {len(images)} images; pairs: {counts}")
        return path


def _derived(read: Read, derive: Derive) -> nephi.Image:
    return derive(read())


def lung_mask(image: nephi.Image) -> nephi.Image:
    """Return the lungs that nephi finds in a CT, on the grid of the image."""
    return nephi.resample(nephi.find_lungs(image), image.grid, lambda points: points, "nearest")
