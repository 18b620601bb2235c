"""`nephi register`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from .model_options import RefineOptions, model_option, refine_options
from .options import FILE, device_option, frame_option, verbosity_options
from .plan_table import plan_table
from .point_options import read_landmarks
from .printing import echo
from .progress import progress_bar
from .register_methods import chosen_method
from .register_options import (
    RESULTS,
    Preset,
    Results,
    config_option,
    seed_option,
    threads_option,
)
from .tables import registration_table, stage_table


@click.command(short_help="Register a moving image to a fixed one.")
@click.option("-f", "--fixed", type=FILE, required=True, help="Fixed image; results lie on its grid.")
@click.option("-m", "--moving", type=FILE, required=True, help="Moving image.")
@click.option("-o", "--output", type=FILE, required=True, metavar="OUTDIR", help="Folder for the results.")
@click.option("--fixed-mask", type=FILE, help="Where to register (above 0), on the fixed image's grid.")
@click.option("--moving-mask", type=FILE, help="The same on the moving image's grid.")
@click.option(
    "--preset",
    type=Preset(),
    metavar="NAME",
    help="lung-ct, lung-ct-fast, lung-ct-best, ct, brain-mri, multimodal, generic (default), idir or nephi-eccv2024.",
)
@config_option
@click.option(
    "--initial",
    metavar="moments|centers|none|FILE",
    help="Start: bring centres of mass or image centres together, trust the headers, or an affine transform file.",
)
@click.option("--transform", type=click.Choice(["rigid", "affine", "deformable"]), help="Kind of transform to find.")
@click.option(
    "--similarity",
    metavar="NAME",
    help="mse, ncc, lncc, lncc2, pooled, or for other contrast mind or nmi; sums, too: 'lncc2 + 10 mse'.",
)
@model_option
@refine_options
@click.option("--window", type=(float, float), metavar="LO HI", help="Intensities between which images are compared.")
@click.option("--outside", type=float, metavar="VALUE", help="Value of warped voxels from beyond the moving image.")
@seed_option("Seed of the random points.")
@device_option
@threads_option
@click.option(
    "--landmarks", type=FILE, metavar="F.csv", help="Pairs of points to measure the result at; they do not guide it."
)
@frame_option
@click.option(
    "--save",
    type=Results(),
    metavar="NAME,...",
    default=RESULTS,
    help="Results to write: transform, warp, inverse, warped, report, page.  [default: all of them]",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Exit with 4 when images or result are not plausible, instead of a warning alone; results are written.",
)
@click.option("--dry-run", is_flag=True, help="Read and check everything, print the plan, and stop.")
@click.option("--overwrite", is_flag=True, help="Write into OUTDIR even if it is not empty; older results there go.")
@verbosity_options
@click.pass_obj
def register(
    command: str | None,
    /,
    fixed: Path,
    moving: Path,
    output: Path,
    fixed_mask: Path | None,
    moving_mask: Path | None,
    seed: int,
    device: str,
    landmarks: Path | None,
    frame: str,
    save: tuple[str, ...],
    strict: bool,
    dry_run: bool,
    overwrite: bool,
    refine: RefineOptions,
    quiet: bool,
    verbose: bool,
    **overrides: Any,
) -> None:
    """Register the MOVING image to the FIXED one and write the results to OUTDIR.

    \b
    nephi register -f exhale.nii.gz -m inhale.nii.gz -o result --preset lung-ct
    nephi register -f exhale.nii.gz -m inhale.nii.gz -o result --preset lung-ct --save transform,report
    nephi register -f exhale.nii.gz -m inhale.nii.gz -o result --model lungs.safetensors --refine 100

    \b
    transform  transform.nephi      the transform and its inverse, for nephi's other commands
    warp       warp.nii.gz          displacement field fixed -> moving (ITK, ANTs, SimpleITK: LPS, mm)
    inverse    inverse_warp.nii.gz  displacement field moving -> fixed
    warped     warped.nii.gz        the moving image on the fixed grid, in its own type and values
    report     report.json          settings, versions, times, memory, folding, inverse consistency, loss history
    page       report.html          all of it with pictures before and after; opens in any browser, offline

    Images: NIfTI (also from a pipe), Analyze, .mgz, mha, mhd, nrrd, or DICOM (a folder with one series, a file); 2-D or
    3-D.

    Intensities, masks, affine part, folding and agreement are checked, and what is not plausible is warned of; with
    --strict the exit code then is 4.
    """
    import nephi

    named = (overrides["config"], overrides["initial"], overrides["model"])
    given = (fixed, moving, fixed_mask, moving_mask, landmarks, *named)
    method = chosen_method(overrides, refine)
    nephi.results.check_output_folder(output, overwrite, [path for path in given if path is not None])
    with nephi.errors.collected_warnings(nephi.PlausibilityWarning) as doubts:
        images = [nephi.read_image(path) for path in (fixed, moving)]
        for image in images:
            nephi.results.require_exportable(image)
        pairs = read_landmarks(landmarks, frame, images)
        masks = {"fixed_mask": fixed_mask, "moving_mask": moving_mask}
        if dry_run:
            plan = method.plan(images, seed, device=device, **masks)
            plan_table(plan, method.begins, f"{output}: {', '.join(save)}")
        else:
            with progress_bar(quiet) as progress:
                result = method.run(images, seed, progress, device=device, **masks)
                progress(
                    nephi.optimize.Progress("writing", 1, 1, result.history[-1]["loss"] if result.history else 0.0)
                )
                page = partial(nephi.report.page_html, result, command=command or "", landmarks=pairs)
                files = [name for name in save if name != "page"]
                measured = result.save(output, overwrite, pairs, files, page=page if "page" in save else None)
    if verbose and not quiet and not dry_run:
        echo(nephi.settings.settings_toml(method.settings))
        stage_table(measured)
    if not quiet and not dry_run:
        registration_table(measured, output, doubts)
    if strict and doubts:
        count = "the warning" if len(doubts) == 1 else f"the {len(doubts)} warnings"
        written = "" if dry_run else f"; results are in {output}"
        raise nephi.PlausibilityError(f"images or result are not plausible, see {count} above{written}")
