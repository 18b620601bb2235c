"""Register one pair with ConvexAdam (MIND features, coupled convex optimisation, then Adam), its own defaults.

    run_convexadam.py FIXED MOVING none|FIXED_MASK none|MOVING_MASK OUT_FIELD [--threads N]

ConvexAdam works in voxels of one grid and finds displacements of at most 24 voxels: the moving image is first shifted
to align the image centres, and resampled on the fixed grid. Masks are not used. The field (voxels, one component per
array axis) is converted to millimetres, and the shift is added.
"""

from __future__ import annotations

import sys

import numpy as np
import SimpleITK as sitk
import torch
from arguments import parsed
from centres import centre_shift
from convexAdam.convex_adam_MIND import convex_adam_pt


def main() -> None:
    """Register and write the field."""
    job = parsed(__doc__)
    torch.set_num_threads(job.threads)
    fixed, moving = (sitk.ReadImage(path, sitk.sitkFloat32) for path in (job.fixed, job.moving))
    if fixed.GetDimension() != 3:
        sys.exit("ConvexAdam registers 3-D images only")
    shift = centre_shift(fixed, moving)
    outside = float(sitk.GetArrayViewFromImage(moving).min())
    centred = sitk.Resample(moving, fixed, sitk.TranslationTransform(3, shift), sitk.sitkLinear, outside)
    voxels = convex_adam_pt(sitk.GetArrayFromImage(fixed), sitk.GetArrayFromImage(centred), device=torch.device("cpu"))
    axes = np.array(fixed.GetDirection()).reshape(3, 3) * np.array(fixed.GetSpacing())
    field = sitk.GetImageFromArray(voxels[..., ::-1] @ axes.T + np.array(shift), isVector=True)
    field.CopyInformation(fixed)
    sitk.WriteImage(field, job.field)


if __name__ == "__main__":
    main()
