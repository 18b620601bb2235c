"""Register one pair with elastix (ITK's Python build): affine, then a B-spline.

    run_elastix.py FIXED MOVING FIXED_MASK|none MOVING_MASK|none OUT_FIELD [--iterations N] [--similarity S]

Settings follow the lung and brain parameter files of the elastix authors: normalised correlation (`--similarity mi`:
Mattes mutual information), adaptive stochastic gradient descent, 4,000 random-coordinate samples, four levels, 10 mm
final grid. The bending energy of the default parameter map is omitted, because it crashes this build. The fixed mask is
dilated by 10 mm, to include the borders of the lungs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import itk
import SimpleITK as sitk
from arguments import SIMILARITY_MI, Job, parsed
from masks import widened

FINAL_GRID_MM = 10.0
LEVELS = 4


def parameters(job: Job) -> itk.ParameterObject:
    """Return the affine and the B-spline stage."""
    result = itk.ParameterObject.New()
    for kind in ("affine", "bspline"):
        settings = result.GetDefaultParameterMap(kind, LEVELS, FINAL_GRID_MM)
        mutual = job.similarity == SIMILARITY_MI
        settings["Registration"] = ["MultiResolutionRegistration"]
        settings["Metric"] = ["AdvancedMattesMutualInformation" if mutual else "AdvancedNormalizedCorrelation"]
        settings["Optimizer"] = ["AdaptiveStochasticGradientDescent"]
        settings["ImageSampler"] = ["RandomCoordinate"]
        settings["NumberOfSpatialSamples"] = ["4000"]
        settings["NewSamplesEveryIteration"] = ["true"]
        settings["RequiredRatioOfValidSamples"] = ["0.05"]
        settings["ErodeMask"] = ["false"]
        settings["WriteResultImage"] = ["false"]
        if kind == "affine":
            settings["MaximumNumberOfIterations"] = ["250"]
            settings["AutomaticTransformInitialization"] = ["true"]
            settings["AutomaticTransformInitializationMethod"] = ["GeometricalCenter"]
        else:
            settings["MaximumNumberOfIterations"] = [str(job.iterations or 250)]
            settings["GridSpacingSchedule"] = [str(2**level) for level in reversed(range(LEVELS))]
        result.AddParameterMap(settings)
    return result


def main() -> None:
    """Register and write the field."""
    job = parsed(__doc__)
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(job.threads)
    itk.MultiThreaderBase.SetGlobalMaximumNumberOfThreads(job.threads)
    fixed, moving = (itk.imread(str(path), itk.F) for path in (job.fixed, job.moving))
    masks = {}
    if job.fixed_mask:  # dilated with SimpleITK: another filter of ITK's Python costs 2 s and 140 MB
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "mask.mha"
            sitk.WriteImage(widened(job.fixed_mask), file)
            masks["fixed_mask"] = itk.imread(str(file), itk.UC)
    _, found = itk.elastix_registration_method(
        fixed,
        moving,
        parameter_object=parameters(job),
        number_of_threads=job.threads,
        log_to_console=False,
        **masks,
    )
    with tempfile.TemporaryDirectory() as folder:  # transformix writes a copy there
        field = itk.transformix_deformation_field(moving, found, output_directory=folder)
        itk.imwrite(field, str(job.field))


if __name__ == "__main__":
    main()
