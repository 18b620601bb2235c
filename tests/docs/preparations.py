"""Write the files that README assumes. All other pages start from `nephi demo --keep`."""

from __future__ import annotations

from pathlib import Path

import nephi


def lung_ct(folder: Path) -> None:
    """Write lung CT in Hounsfield units with masks, labels and landmarks, with the file names of README."""
    study = nephi.phantoms.breathing_study(1)
    for side in ("exhale", "inhale"):
        nephi.write_image(getattr(study, side), folder / f"{side}.nii.gz")
        nephi.write_image(getattr(study, f"{side}_mask"), folder / f"{side}_lungs.nii.gz")
        nephi.write_image(getattr(study, f"{side}_labels"), folder / f"{side}_labels.nii.gz")
    nephi.write_points(folder / "exhale_points.csv", study.landmarks.fixed)
    nephi.write_point_pairs(folder / "landmarks.csv", study.landmarks)
