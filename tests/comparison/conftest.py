"""A data set of shapes on disk, and the configuration of a comparison of two tiny models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import nephi
from nephi.phantoms import silhouettes

SIZE = 20
CONFIG = """
[data]
index = "shapes"
[budget]
steps = 6
validations = 3
[scoring]
pairs = 3
repetitions = 2
[input]
shape = [20, 20]
spacing = [1.0, 1.0]
window = [0.0, 1.0]
[objective]
points = 60
background_points = 20
[optimization]
batch = 2
log_interval = 2
validation_pairs = 2
pictures = 0
[[models]]
name = "fields"
[models.model.field]
spacings = [10.0, 5.0]
channels = 2
hidden = 8
[models.model.encoder]
filters = [4, 8]
[[models]]
name = "table"
[models.model]
kind = "unet"
filters = [4, 8]
[models.optimization]
rate = 2e-3
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the data set `shapes` with labels, the data set `bare` without, and `config.toml`."""
    root = tmp_path_factory.mktemp("comparison")
    pictures, inside = silhouettes(9, torch.Generator().manual_seed(0), SIZE)
    grid = nephi.Grid.from_spacing((SIZE, SIZE), (1.0, 1.0))
    names = [f"s{k}" for k in range(9)]
    (root / "shapes").mkdir()
    for name, picture, labels in zip(names, pictures, inside, strict=True):
        nephi.write_image(nephi.Image(picture, grid), root / "shapes" / f"{name}.nii.gz")
        nephi.write_image(nephi.Image(labels.to(torch.uint8), grid), root / "shapes" / f"{name}-labels.nii.gz")
    parts = {"train": names[:4], "val": names[4:6], "test": names[6:]}
    splits = {name: nephi.datasets.DatasetSplit(tuple(part), "between-subjects") for name, part in parts.items()}
    for data, has_labels in (("shapes", True), ("bare", False)):
        (root / data).mkdir(exist_ok=True)
        images = tuple(
            nephi.datasets.DatasetImage(
                name, name, f"../shapes/{name}.nii.gz", labels=f"../shapes/{name}-labels.nii.gz" if has_labels else None
            )
            for name in names
        )
        nephi.datasets.write_dataset_index(nephi.datasets.DatasetIndex(data, 2, images, splits), root / data)
    (root / "config.toml").write_text(CONFIG)
    return root
