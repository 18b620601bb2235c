"""The pairs of images that methods are compared on.

    python benchmarks/pairs.py NAME FOLDER DATA     # write the files of one made pair

Real pairs come from the data folder; phantoms are made by nephi, in a process of their own, into the work folder.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

LUNG_PHANTOMS = {f"lung_phantom_{motion}mm_{seed}": (seed, motion) for motion in (25, 60) for seed in range(3)}
SHAPES = "shapes_2d"
MULTIMODAL = "brain_multimodal"
SMALL = (*LUNG_PHANTOMS, SHAPES)  # fewer than 1.5 million voxels


@dataclass(frozen=True)
class Pair:
    """Files of one pair, what judges it (landmarks or labels), and the preset of nephi that fits it."""

    name: str
    preset: str
    fixed: Path
    moving: Path
    fixed_mask: Path | None = None
    moving_mask: Path | None = None
    landmarks: Path | None = None
    fixed_labels: Path | None = None
    moving_labels: Path | None = None
    multimodal: bool = False

    @property
    def files(self) -> list[Path]:
        """Every file that must be there."""
        fields = (self.fixed, self.moving, self.fixed_mask, self.moving_mask, self.landmarks)
        return [path for path in (*fields, self.fixed_labels, self.moving_labels) if path]

    @property
    def judged(self) -> list[str | Path]:
        """Options for the scorers: they understand the same ones."""
        inside = self.fixed_mask or self.fixed_labels
        options: list[str | Path] = ["--mask", inside] if inside else []
        if self.landmarks:
            options += ["--landmarks", self.landmarks]
        if self.fixed_labels and self.moving_labels:
            options += ["--fixed-labels", self.fixed_labels, "--moving-labels", self.moving_labels]
        return options


def all_pairs(data: Path, work: Path) -> list[Pair]:
    """Return every pair, whether its files are there or not."""
    brain = data / "brain_mri"
    labels = {"fixed_labels": brain / "fixed_labels.nii.gz", "moving_labels": brain / "moving_labels.nii.gz"}
    remapped = work / MULTIMODAL / "moving.nii.gz"
    return [
        _in_folder("lung_ct", "lung-ct", data / "lung_ct"),
        Pair("brain_mri", "brain-mri", brain / "fixed.nii.gz", brain / "moving.nii.gz", **labels),
        *(_in_folder(name, "lung-ct", work / name) for name in LUNG_PHANTOMS),
        _in_folder(SHAPES, "generic", work / SHAPES),
        Pair(MULTIMODAL, "multimodal", brain / "fixed.nii.gz", remapped, **labels, multimodal=True),
    ]


def _in_folder(name: str, preset: str, folder: Path) -> Pair:
    masks = (folder / "fixed_mask.mha", folder / "moving_mask.mha")
    return Pair(name, preset, folder / "fixed.mha", folder / "moving.mha", *masks, folder / "landmarks.csv")


def make(name: str, folder: Path, data: Path) -> None:
    """Write the files of a made pair into `folder`."""
    import nephi  # here, because the comparison itself must stay a small process

    folder.mkdir(parents=True, exist_ok=True)
    if name == MULTIMODAL:
        remap(data / "brain_mri" / "moving.nii.gz", folder / "moving.nii.gz")
        return
    if name == SHAPES:
        pair = nephi.shapes_phantom(0)
    else:
        seed, motion = LUNG_PHANTOMS[name]
        pair = nephi.lung_phantom(seed, motion)
    for part in ("fixed", "moving", "fixed_mask", "moving_mask"):
        nephi.write_image(getattr(pair, part), folder / f"{part}.mha")
    nephi.write_point_pairs(folder / "landmarks.csv", pair.landmarks, "lps")


def remap(source: Path, target: Path) -> None:
    """Change the contrast of a head (values 0 to 1) by a smooth curve that rises and falls; outside stays 0."""
    import numpy as np
    import SimpleITK as sitk

    image = sitk.ReadImage(source, sitk.sitkFloat32)
    values = sitk.GetArrayFromImage(image)
    curve = 0.55 + 0.45 * np.cos(2 * np.pi / 0.6 * values)  # bright fluid (0), dark grey (0.22), lighter white (0.42)
    result = sitk.GetImageFromArray(np.where(values > 0, curve, 0).astype(np.float32))
    result.CopyInformation(image)
    sitk.WriteImage(result, target)


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
