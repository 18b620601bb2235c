"""A small data set of triangles and circles on disk, and a training that takes a second."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import nephi
from nephi.fields import FieldSettings
from nephi.models import EncoderSettings, InputSettings, NephiSettings
from nephi.phantoms import silhouettes
from nephi.settings import TrainingObjectiveSettings
from nephi.training import AugmentationSettings, DataSettings, OptimizationSettings, TrainSettings

SIZE = 24
FIELD = FieldSettings(spacings=(12.0, 6.0), channels=2, hidden=8)
AUGMENTATION = AugmentationSettings(flip=True, permute=True, rotation=10.0, scale=0.1, shift=1.0, gamma=0.2, noise=0.02)
OPTIMIZATION = OptimizationSettings(
    steps=12,
    batch=2,
    rate=1e-3,
    threads=1,
    workers=0,
    log_interval=1,
    validation_interval=4,
    checkpoint_interval=3,
    validation_pairs=3,
    pictures=1,
)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write four subjects for training and three for validation, labels of all, landmarks of two pairs."""
    folder = tmp_path_factory.mktemp("shapes")
    for name in ("images", "labels", "landmarks"):
        (folder / name).mkdir()
    pictures, inside = silhouettes(7, torch.Generator().manual_seed(0), SIZE)
    grid = nephi.Grid.from_spacing((SIZE, SIZE), (1.0, 1.0), (30.0, -100.0))
    names = [f"s{k}" for k in range(7)]
    for name, picture, labels in zip(names, pictures, inside, strict=True):
        nephi.write_image(nephi.Image(picture, grid), folder / "images" / f"{name}.nii.gz")
        nephi.write_image(nephi.Image(labels.to(torch.uint8), grid), folder / "labels" / f"{name}.nii.gz")
    places = torch.tensor([[35.0, -90.0], [44.0, -82.0]], dtype=torch.float64)
    nephi.write_point_pairs(folder / "landmarks" / "p.csv", nephi.PointPairs.from_coordinates(places, places + 3))
    images = tuple(
        nephi.datasets.DatasetImage(name, name, f"images/{name}.nii.gz", labels=f"labels/{name}.nii.gz")
        for name in names
    )
    val = tuple(
        nephi.datasets.DatasetPair(*pair, "landmarks/p.csv") for pair in (("s4", "s5"), ("s5", "s6"), ("s6", "s4"))
    )
    splits = {
        "train": nephi.datasets.DatasetSplit(tuple(names[:4]), "between-subjects"),
        "val": nephi.datasets.DatasetSplit(tuple(names[4:]), val),
    }
    nephi.datasets.write_dataset_index(nephi.datasets.DatasetIndex("shapes", 2, images, splits), folder)
    return folder


@pytest.fixture(scope="session")
def settings(shapes: Path) -> TrainSettings:
    return TrainSettings(
        DataSettings(str(shapes)),
        InputSettings((SIZE, SIZE), (1.0, 1.0), window=(0.0, 1.0)),
        NephiSettings(field=FIELD, encoder=EncoderSettings((4, 8), features=8)),
        TrainingObjectiveSettings(points=100, background_points=10),
        AUGMENTATION,
        OPTIMIZATION,
    )


def with_loop(settings: TrainSettings, **changes: Any) -> TrainSettings:
    return replace(settings, optimization=replace(settings.optimization, **changes))


def rows(path: Path) -> list[dict[str, float]]:
    """Return the rows of a CSV table without its empty cells."""
    with path.open(encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
