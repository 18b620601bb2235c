"""Register one pair with greedy: affine, then a diffeomorphic warp.

    run_greedy.py FIXED MOVING FIXED_MASK|none MOVING_MASK|none OUT_FIELD [--similarity S] [--single] [--threads N]

Affine on normalised correlation of radius 2, started at the image centres; then the deformation on normalised
correlation of radius 4 (`--similarity mi`: normalised mutual information for both), 100x50x10 iterations, smoothing
of 2 and 0.5 voxels, inside the fixed mask dilated by 10 mm. greedy composes affine and warp.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import SimpleITK as sitk
from arguments import SIMILARITY_MI, Job, parsed
from masks import widened
from picsl_greedy import Greedy2D, Greedy3D, GreedyFloat2D, GreedyFloat3D

ITERATIONS = "100x50x10"
# By dimension and single precision; double precision is the default of greedy.
CLASSES = {(2, False): Greedy2D, (3, False): Greedy3D, (2, True): GreedyFloat2D, (3, True): GreedyFloat3D}


def register(job: Job, folder: Path) -> None:
    """Run the three steps of greedy on images in memory; write the composed field to `job.field`."""
    fixed, moving = (sitk.ReadImage(path, sitk.sitkFloat32) for path in (job.fixed, job.moving))
    dimension = fixed.GetDimension()
    greedy = CLASSES[dimension, job.single]()
    mutual = job.similarity == SIMILARITY_MI
    images = {"fixed": fixed, "moving": moving}
    gate = ""
    if job.fixed_mask:
        images["gate"] = sitk.Cast(widened(job.fixed_mask), sitk.sitkFloat32)
        gate = "-gm gate"
    shared = f"-i fixed moving {gate} -n {ITERATIONS} -threads {job.threads}"

    def metric(radius: int) -> str:
        return "-m NMI" if mutual else f"-m NCC {'x'.join([str(radius)] * dimension)}"

    affine, warp = folder / "affine.mat", folder / "warp.nii"
    greedy.execute(f"{shared} -a -dof 12 {metric(2)} -ia-image-centers -o {affine}", **images)
    greedy.execute(f"{shared} {metric(4)} -s 2vox 0.5vox -it {affine} -o {warp}")
    greedy.execute(f"-rf fixed -rc composed -r {warp} {affine} -threads {job.threads}", composed=None)
    sitk.WriteImage(greedy["composed"], job.field)


def main() -> None:
    """Register and write the field."""
    job = parsed(__doc__)
    with tempfile.TemporaryDirectory() as name:
        register(job, Path(name))


if __name__ == "__main__":
    main()
