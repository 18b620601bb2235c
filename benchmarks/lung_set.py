"""Write lung phantoms as a data set: `python benchmarks/lung_set.py FOLDER [--train 160]`.

Each phantom yields three pairs, with masks of both lungs, the right one, or the left one, and landmarks inside the
mask; each pair is listed in both directions, inhale to exhale and back. Training phantoms move by 5 to 25 mm, and their
vessel thickness and tissue density vary; the others move by 25 mm and have the default vessels and tissue.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import nephi

SHAPE = (68, 50, 54)  # voxels of about 5 mm
LEAST, MOST = 5.0, 25.0  # mm
THIN, THICK = 0.4, 1.1  # of vessels
DARK, BRIGHT = -940.0, -830.0  # HU of tissue
SEEDS = {"train": 0, "val": 5000, "test": 10_000}
SIDES = {"both": 0, "left": -1, "right": 1}  # of x, world mm


def write_lungs(folder: Path, counts: dict[str, int]) -> None:
    """Write images, masks, landmarks and the index."""
    for name in ("images", "masks", "landmarks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    images: list[nephi.datasets.DatasetImage] = []
    splits = {}
    for split, count in counts.items():
        pairs: list[nephi.datasets.DatasetPair] = []
        subjects = []
        for seed in range(SEEDS[split], SEEDS[split] + count):
            phantom = _varied(seed) if split == "train" else nephi.phantoms.lung_phantom(seed, MOST, shape=SHAPE)
            subjects.append(f"p{seed}")
            for side in SIDES if split == "train" else ("both",):
                pairs += _written(folder, phantom, f"p{seed}", side, images)
        splits[split] = nephi.datasets.DatasetSplit(tuple(subjects), tuple(pairs))
    nephi.datasets.write_dataset_index(nephi.datasets.DatasetIndex("lung phantoms", 3, tuple(images), splits), folder)


def _varied(seed: int) -> nephi.phantoms.PhantomPair:
    """Return a phantom with random motion, vessel thickness and tissue density."""
    motion, vessels, tissue = torch.rand(3, generator=torch.Generator().manual_seed(seed)).tolist()
    return nephi.phantoms.lung_phantom(
        seed,
        LEAST + (MOST - LEAST) * motion,
        vessels=THIN + (THICK - THIN) * vessels,
        tissue=DARK + (BRIGHT - DARK) * tissue,
        shape=SHAPE,
    )


def _written(
    folder: Path, phantom: nephi.phantoms.PhantomPair, name: str, side: str, images: list[nephi.datasets.DatasetImage]
) -> list[nephi.datasets.DatasetPair]:
    """Write the files of one mask of a phantom, and return its two pairs."""
    ids = []
    for state, image, mask in (
        ("in", phantom.fixed, phantom.fixed_mask),
        ("out", phantom.moving, phantom.moving_mask),
    ):
        path, mask_path = f"images/{name}-{state}.nii.gz", f"masks/{name}-{state}-{side}.nii.gz"
        if not (folder / path).exists():
            nephi.write_image(image, folder / path)
        nephi.write_image(mask.with_data(_on_side(mask, side)), folder / mask_path)
        ids.append(f"{name}-{state}-{side}")
        images.append(nephi.datasets.DatasetImage(ids[-1], name, path, mask=mask_path, modality="CT"))
    points = [phantom.landmarks.fixed.coordinates, phantom.landmarks.moving.coordinates]
    inside = points[0][:, 0] * SIDES[side] >= 0
    pairs = []
    for a, b in ((0, 1), (1, 0)):
        path = f"landmarks/{ids[a]}--{ids[b]}.csv"
        point_pairs = nephi.PointPairs.from_coordinates(points[a][inside], points[b][inside])
        nephi.write_point_pairs(folder / path, point_pairs)
        pairs.append(nephi.datasets.DatasetPair(ids[a], ids[b], path))
    return pairs


def _on_side(mask: nephi.Image, side: str) -> torch.Tensor:
    return mask.data * (mask.grid.voxel_centres()[..., 0] * SIDES[side] >= 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=160, metavar="N", help="phantoms of the split train")
    args = parser.parse_args()
    write_lungs(args.folder, {"train": args.train, "val": 4, "test": 16})
