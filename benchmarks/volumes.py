"""Resample a pair to more voxels, and score a large field at landmarks.

    python benchmarks/volumes.py resample SIZE PAIR FOLDER   # images and masks of folder PAIR, SIZE along each axis
    python benchmarks/volumes.py score FIELD LANDMARKS.csv   # prints JSON

This is a separate program, because a process that measures the memory of others has to be small.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import SimpleITK as sitk
from scoring import landmark_scores

VOLUMES = {"fixed": sitk.sitkLinear, "moving": sitk.sitkLinear}
VOLUMES |= {"fixed_mask": sitk.sitkNearestNeighbor, "moving_mask": sitk.sitkNearestNeighbor}


class FieldLookup:
    """Replace `sitk.DisplacementFieldTransform`, which needs a float64 copy: 3.2 GB more at 512 cubed."""

    def __init__(self, field: sitk.Image) -> None:
        self.field = field

    def GetDimension(self) -> int:
        """Return the number of axes."""
        return self.field.GetDimension()

    def TransformPoint(self, point: Sequence[float]) -> list[float]:
        """Return the point (LPS, mm) plus its linearly interpolated displacement."""
        return [p + u for p, u in zip(point, self.field.EvaluateAtPhysicalPoint(point, sitk.sitkLinear), strict=True)]


def resampled(image: sitk.Image, size: int, interpolator: int) -> sitk.Image:
    """Resample the image to `size` voxels along each axis in the same box, with the same voxel type."""
    spacing = [s * n / size for s, n in zip(image.GetSpacing(), image.GetSize(), strict=True)]
    # The corner of the box stays, so the centre of the first voxel moves: half a voxel from the corner.
    first = [(n / size - 1) / 2 for n in image.GetSize()]
    origin = image.TransformContinuousIndexToPhysicalPoint(first)
    grid = ([size] * image.GetDimension(), sitk.Transform(), interpolator, origin, spacing, image.GetDirection())
    return sitk.Resample(image, *grid)


def resample(size: int, source: Path, target: Path) -> None:
    """Resample the images and masks of a pair and write them uncompressed."""
    target.mkdir(parents=True, exist_ok=True)
    for name, interpolator in VOLUMES.items():
        image = sitk.ReadImage(source / f"{name}.mha")
        sitk.WriteImage(resampled(image, size, interpolator), target / f"{name}.mha")


def main() -> None:
    """Run the command line."""
    match sys.argv[1:]:
        case ["resample", size, source, target]:
            resample(int(size), Path(source), Path(target))
        case ["score", field, landmarks]:
            print(json.dumps(landmark_scores(FieldLookup(sitk.ReadImage(field)), Path(landmarks))))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
