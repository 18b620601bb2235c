"""Write triangles and circles as a data set: `python benchmarks/shape_set.py FOLDER [--hollow] [--affine] [--size N]`.

With `--affine` both images of a pair show the same shape, mapped by a random affine map each.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor

import nephi
from nephi.phantoms import silhouettes

SIZES = {"train": 2000, "val": 64, "test": 1000}
SEEDS = {"train": 1, "val": 2, "test": 10_000}
EDGE = 128.0  # mm
TURN, SCALE, SHEAR, SHIFT = math.pi / 4, 0.2, 0.15, 8.0  # largest rotation, log scale, slope, mm of `--affine`


def write_shapes(folder: Path, hollow: bool, size: int = 128, affine: bool = False) -> None:
    """Write images, labels and the index; the test split has 500 pairs."""
    grid = nephi.Grid.from_spacing((size, size), (EDGE / size, EDGE / size), (0.0, 0.0))
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    images, splits = [], {}
    for split, count in SIZES.items():
        generator = torch.Generator().manual_seed(SEEDS[split])
        pictures, labels = silhouettes(count // 2 if affine else count, generator, size, hollow)
        if affine:  # each shape twice, one after the other
            pictures, labels = _mapped(pictures.repeat_interleave(2, dim=0), grid, generator)
        ids = [f"{split}{k}" for k in range(count)]
        subjects = [f"{split}{k // 2}" for k in range(count)] if affine else ids
        for id, subject, picture, label in zip(ids, subjects, pictures, labels, strict=True):
            paths = [f"{name}/{id}.nii.gz" for name in ("images", "labels")]
            nephi.write_image(nephi.Image(picture, grid), folder / paths[0])
            nephi.write_image(nephi.Image(label.to(torch.uint8), grid), folder / paths[1])
            images.append(nephi.datasets.DatasetImage(id, subject, paths[0], labels=paths[1]))
        pairs = tuple(nephi.datasets.DatasetPair(a, b) for a, b in zip(ids[::2], ids[1::2], strict=True))
        rule = "within-subjects" if affine else "between-subjects"
        members = tuple(dict.fromkeys(subjects))
        splits[split] = nephi.datasets.DatasetSplit(members, rule if split == "train" else pairs)
    name = f"{'hollow ' if hollow else ''}triangles and circles{', affine pairs' if affine else ''}"
    nephi.datasets.write_dataset_index(nephi.datasets.DatasetIndex(name, 2, tuple(images), splits), folder)


def _mapped(pictures: Tensor, grid: nephi.Grid, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return pictures mapped by a random affine map about the centre each, and label maps of the shapes."""
    mapped = []
    for picture in pictures:
        turn, one, other, slope, *shift = (2 * torch.rand(6, generator=generator, dtype=torch.float64) - 1).tolist()
        cosine, sine = math.cos(TURN * turn), math.sin(TURN * turn)
        rotation = torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float64)
        stretch = [[math.exp(SCALE * one), SHEAR * slope], [0.0, math.exp(SCALE * other)]]
        matrix = torch.eye(3, dtype=torch.float64)
        matrix[:2, :2] = rotation @ torch.tensor(stretch, dtype=torch.float64)
        centre = grid.centre_world()
        matrix[:2, 2] = centre - matrix[:2, :2] @ centre + SHIFT * torch.tensor(shift, dtype=torch.float64)
        image = nephi.resample(nephi.Image(picture, grid), grid, nephi.AffineTransform(matrix))
        mapped.append(image.data)
    images = torch.stack(mapped)
    return images, images > 0.5


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hollow", action="store_true")
    parser.add_argument("--affine", action="store_true")
    parser.add_argument("--size", type=int, default=128, metavar="N", help="pixels of an edge, which is 128 mm long")
    args = parser.parse_args()
    write_shapes(args.folder, args.hollow, args.size, args.affine)
