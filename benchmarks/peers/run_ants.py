"""Register one pair with ANTs (antspyx): affine, then symmetric normalisation (SyN).

    run_ants.py FIXED MOVING FIXED_MASK|none MOVING_MASK|none OUT_FIELD [--inverse FIELD] [--similarity S] [--threads N]

The affine stage (Mattes mutual information, ANTs' default) starts with aligned image centres; SyN uses
cross-correlation of radius 4 (`--similarity mi`: mutual information of 32 bins), 100x70x30x0 iterations, inside the
fixed mask dilated by 10 mm. ANTs composes affine and warp, in both directions.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from arguments import SIMILARITY_MI, Job, parsed

if TYPE_CHECKING:
    import ants

MASK_MARGIN_MM = 10.0
ITERATIONS = (100, 70, 30, 0)


def register(job: Job, folder: Path) -> None:
    """Register in two stages; write the composed field after each, so that a stopped run has one."""
    import ants

    fixed, moving = ants.image_read(str(job.fixed)), ants.image_read(str(job.moving))
    options = {"mask": _widened(job.fixed_mask), "mask_all_stages": True}
    start = _start(fixed, moving, folder / "start.mat")
    affine = ants.registration(fixed, moving, "Affine", [start], str(folder / "affine_"), **options)
    _compose(fixed, moving, affine["fwdtransforms"], folder / "affine_", job.field)
    metric = ("mattes", 32) if job.similarity == SIMILARITY_MI else ("CC", 4)
    options |= dict(zip(("syn_metric", "syn_sampling"), metric, strict=True)) | {"reg_iterations": ITERATIONS}
    found = ants.registration(fixed, moving, "SyNOnly", affine["fwdtransforms"], str(folder / "syn_"), **options)
    _compose(fixed, moving, found["fwdtransforms"], folder / "forward_", job.field)
    if job.inverse:
        _compose(moving, fixed, found["invtransforms"], folder / "backward_", job.inverse, inverse=True)


def _start(fixed: ants.ANTsImage, moving: ants.ANTsImage, file: Path) -> str:
    """Write the translation that aligns the image centres."""
    import ants

    kind, shift = f"Euler{fixed.dimension}DTransform", _centre(moving) - _centre(fixed)
    ants.write_transform(ants.create_ants_transform(kind, dimension=fixed.dimension, translation=shift), str(file))
    return str(file)


def _widened(path: Path | None) -> ants.ANTsImage | None:
    """Dilate the mask by about the margin (in whole voxels)."""
    import ants

    if path is None:
        return None
    mask = ants.image_read(str(path))
    return ants.iMath(ants.threshold_image(mask, 1), "MD", round(MASK_MARGIN_MM / float(np.mean(mask.spacing))))


def _compose(
    target: ants.ANTsImage, source: ants.ANTsImage, files: list[str], prefix: Path, out: Path, inverse: bool = False
) -> None:
    """Compose the transforms and write a displacement field on the grid of `target`."""
    import ants

    flags = [inverse and name.endswith(".mat") for name in files]
    composed_path = ants.apply_transforms(target, source, files, whichtoinvert=flags, compose=str(prefix))
    shutil.copy(composed_path, out)


def _centre(image: ants.ANTsImage) -> np.ndarray:
    """Return the centre of the image, LPS mm."""
    return image.origin + image.direction @ (np.subtract(image.shape, 1) / 2 * image.spacing)


def main() -> None:
    """Register and write the field."""
    job = parsed(__doc__)
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(job.threads)  # read when ants is imported
    with tempfile.TemporaryDirectory() as name:
        register(job, Path(name))


if __name__ == "__main__":
    main()
