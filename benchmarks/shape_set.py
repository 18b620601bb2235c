"""Write triangles and circles as a data set: `python benchmarks/shape_set.py FOLDER [--hollow]`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import nephi
from nephi.phantoms import silhouettes

SIZES = {"train": 2000, "val": 64, "test": 1000}
SEEDS = {"train": 1, "val": 2, "test": 10_000}


def write_shapes(folder: Path, hollow: bool) -> None:
    """Write images, labels and the index; the test split has 500 pairs of different images."""
    grid = nephi.Grid.from_spacing((128, 128), (1.0, 1.0), (0.0, 0.0))
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    images, splits = [], {}
    for split, count in SIZES.items():
        pictures, labels = silhouettes(count, torch.Generator().manual_seed(SEEDS[split]), hollow=hollow)
        ids = [f"{split}{k}" for k in range(count)]
        for id, picture, label in zip(ids, pictures, labels, strict=True):
            paths = [f"{name}/{id}.nii.gz" for name in ("images", "labels")]
            nephi.write_image(nephi.Image(picture, grid), folder / paths[0])
            nephi.write_image(nephi.Image(label.to(torch.uint8), grid), folder / paths[1])
            images.append(nephi.datasets.DatasetImage(id, id, paths[0], labels=paths[1]))
        pairs = tuple(nephi.datasets.DatasetPair(a, b) for a, b in zip(ids[::2], ids[1::2], strict=True))
        splits[split] = nephi.datasets.DatasetSplit(tuple(ids), "between-subjects" if split == "train" else pairs)
    name = "hollow triangles and circles" if hollow else "triangles and circles"
    nephi.datasets.write_dataset_index(nephi.datasets.DatasetIndex(name, 2, tuple(images), splits), folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hollow", action="store_true")
    args = parser.parse_args()
    write_shapes(args.folder, args.hollow)
