"""`nephi register`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .guide_options import GuideOptions, guide_options
from .options import (
    FILE,
    config_option,
    device_option,
    frame_option,
    seed_option,
    threads_option,
    verbosity_options,
)
from .point_options import read_landmarks
from .printing import echo, print_plan, print_registration, print_stages, progress_bar
from .register_methods import choose_method, save_results
from .registration_options import RESULTS, Preset, RefineOptions, Results, align_option, model_option, refine_options


@click.command(short_help="Register a moving image to a fixed image.")
@click.option(
    "-f",
    "--fixed",
    type=FILE,
    required=True,
    multiple=True,
    help="Fixed image; the results have its grid. Once for each channel, as -m: -f T1 -f T2 -m T1 -m T2.",
)
@click.option("-m", "--moving", type=FILE, required=True, multiple=True, help="Moving image, once for each channel.")
@click.option("-o", "--output", type=FILE, required=True, metavar="OUTDIR", help="Folder for the results.")
@click.option("--fixed-mask", type=FILE, help="Region to register (voxels above 0), on the grid of the fixed image.")
@click.option("--moving-mask", type=FILE, help="Region to register, on the grid of the moving image.")
@click.option(
    "--preset",
    type=Preset(),
    metavar="NAME",
    help="Settings preset: lung-ct, lung-ct-fast, lung-ct-best, ct, breathing, brain-mri, multimodal, generic "
    "(default), generic-best, idir or nephi-eccv2024.",
)
@config_option
@click.option(
    "--initial",
    metavar="auto|auto-mirrored|moments|centers|none|landmarks|FILE",
    help="Initial alignment: the best of several, the headers included (auto), and of their mirror images "
    "(auto-mirrored), by centres of mass (moments), image centres (centers), headers only (none), the landmarks of "
    "--guide-landmarks (landmarks), or an affine transform file.",
)
@click.option(
    "--transform", type=click.Choice(["rigid", "affine", "deformable"]), help="Transform model.  [default: deformable]"
)
@click.option(
    "--similarity",
    metavar="NAME",
    multiple=True,
    help="Similarity measure: mse, ncc, lncc, lncc2 or pooled; mind or nmi for different modalities; or a sum such as "
    "'lncc2 + 10 mse'. With --refine-parameters network, it takes the place of the training's. "
    "Once, or once for each channel.",
)
@guide_options
@model_option
@align_option
@refine_options
@click.option(
    "--window",
    type=(float, float),
    multiple=True,
    metavar="LO HI",
    help="Intensity window; intensities outside are clipped. Once, or once for each channel.",
)
@click.option("--outside", type=float, metavar="VALUE", help="Value of warped voxels outside the moving image.")
@seed_option("Seed of the random sample points.")
@device_option
@threads_option
@click.option(
    "--landmarks",
    type=FILE,
    metavar="F.csv",
    help="Landmark pairs, to report the TRE; they do not influence the registration (see --guide-landmarks).",
)
@frame_option
@click.option(
    "--save",
    type=Results(),
    metavar="NAME,...",
    default=RESULTS,
    help="Results to write: transform, warp, inverse, warped, report, page.  [default: all]",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Exit with code 5 if the verdict is failed, with code 4 if images or result are implausible; the results are "
    "still written.",
)
@click.option("--dry-run", is_flag=True, help="Read and check the inputs, print the plan and exit.")
@click.option("--overwrite", is_flag=True, help="Allow a non-empty OUTDIR; earlier results in it are deleted.")
@verbosity_options
@click.pass_obj
def register(
    command_line: str | None,
    /,
    fixed: tuple[Path, ...],
    moving: tuple[Path, ...],
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
    guide: GuideOptions,
    quiet: bool,
    verbose: bool,
    **overrides: Any,
) -> None:
    """Register the MOVING image to the FIXED image and write the results to OUTDIR.

    \b
    nephi register -f exhale.nii.gz -m inhale.nii.gz -o result --preset lung-ct
    nephi register -f exhale.nii.gz -m inhale.nii.gz -o result --preset lung-ct --save transform,report
    nephi register -f exhale.nii.gz -m inhale.nii.gz -o result --model lungs.safetensors --refine 100

    Results in OUTDIR, with their names for --save:

    \b
    transform  transform.nephi      transform and its inverse, for other commands of nephi
    warp       warp.nii.gz          displacement field, fixed to moving points (LPS mm: ITK, ANTs, SimpleITK)
    inverse    inverse_warp.nii.gz  displacement field, moving to fixed points
    warped     warped.nii.gz        moving image on the fixed grid, with its voxel type and intensities
    report     report.json          settings, versions, times, memory, folding, inverse consistency, loss history
    page       report.html          report with figures, for any browser, without network

    Image formats: NIfTI (also from a pipe), Analyze, .mgz, mha, mhd, nrrd, or DICOM (a file, or a folder with one
    series); 2-D or 3-D.

    The verdict, quality: ok, check or failed, states whether the images match, and why not. nephi also checks
    intensities, masks, alignment, folding and similarity, and warns if they are implausible. With --strict, the exit
    code is 5 for a failed registration, 4 after other warnings of plausibility.
    """
    import nephi

    inputs = (
        *fixed,
        *moving,
        fixed_mask,
        moving_mask,
        landmarks,
        *guide.files,
        *map(overrides.get, ("config", "initial", "model")),
    )
    if len(fixed) != len(moving):
        raise nephi.UsageError(f"-m: expected as many images as -f, {len(fixed)}, got {len(moving)}")
    method = choose_method(overrides, refine, guide, len(fixed))
    for folder in method.folders:
        nephi.results.check_output_folder(output / folder, overwrite, [path for path in inputs if path is not None])
    with nephi.errors.collected_warnings(nephi.PlausibilityWarning) as doubts:
        channels = [[nephi.read_image(path) for path in paths] for paths in (fixed, moving)]
        images = [first for first, *_ in channels]
        for image in images:
            nephi.results.require_exportable(image)
        pairs = read_landmarks(landmarks, frame, images)
        further = {"fixed_mask": fixed_mask, "moving_mask": moving_mask, **guide.read(frame, images)}
        if dry_run:
            plan = method.plan(channels, seed, device=device, **further)
            print_plan(plan, method.initial_alignment, f"{output}: {', '.join(save)}")
        else:
            with progress_bar(quiet) as progress:
                results = method.run(channels, seed, progress, device=device, **further)
                loss = results[""].history[-1]["loss"] if results[""].history else 0.0
                progress(nephi.optimize.Progress("writing", 1, 1, loss))
                report = save_results(results, output, save, command_line, pairs)
    if verbose and not quiet and not dry_run:
        echo(nephi.settings.settings_toml(method.settings))
        print_stages(report)
    if not quiet and not dry_run:
        print_registration(report, output, bool(doubts))
    if strict and not dry_run and report["quality"]["verdict"] == "failed":
        reasons = "; ".join(report["quality"]["reasons"])
        raise nephi.QualityError(f"the registration failed: {reasons}; results are in {output}")
    if strict and doubts:
        warnings = "warning" if len(doubts) == 1 else f"{len(doubts)} warnings"
        written = "" if dry_run else f"; results are in {output}"
        raise nephi.PlausibilityError(f"implausible images or result, see the {warnings} above{written}")
