"""`nephi demo`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from .evaluation_tables import print_evaluation
from .options import FILE, verbosity_options
from .printing import echo_line, print_rows, progress_bar


@click.command(short_help="Register a synthetic lung pair and print the errors.")
@click.option("-o", "--output", type=FILE, metavar="OUTDIR", help="Also save images and results in this folder.")
@click.option(
    "--keep",
    type=FILE,
    metavar="DIR",
    help="Instead write a small synthetic study into this new folder: the files that the documentation uses.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    metavar="N",
    default=0,
    show_default=True,
    help="Seed of the phantom and of the fit; with --keep another patient.",
)
@click.option("--overwrite", is_flag=True, help="Allow a non-empty OUTDIR; earlier results in it are deleted.")
@verbosity_options
def demo(output: Path | None, keep: Path | None, seed: int, overwrite: bool, quiet: bool, verbose: bool) -> None:
    """Register a synthetic pair of lung CTs with a known deformation, and print the errors.

    \b
    nephi demo
    nephi demo --keep study
    nephi demo -o demo_result && nephi view demo_result --landmarks demo_result/landmarks.csv
    """
    import nephi

    if keep is not None:
        _keep_study(keep, seed, output is not None or overwrite, quiet)
        return
    if output is not None:
        nephi.results.check_output_folder(output, overwrite)
    if not quiet:
        echo_line("Generating a lung phantom: two CT volumes, displacements up to about 20 mm ...")
    phantom = nephi.phantoms.lung_phantom(seed=seed, motion=20.0)
    with progress_bar(quiet) as progress:
        result = nephi.register(
            phantom.fixed,
            phantom.moving,
            preset="lung-ct",
            fixed_mask=phantom.fixed_mask,
            moving_mask=phantom.moving_mask,
            seed=seed,
            progress=progress,
        )
    measures = nephi.evaluate(
        result.transform, landmarks=phantom.landmarks, mask=phantom.fixed_mask, inverse=result.inverse
    ).table()
    tre, folding = measures["tre_mm"], measures["regularity"]["folding_percent"]
    seconds = sum(result.usage.stages[name]["wall_s"] for name in ("affine", "fit"))
    rows = [
        ("TRE before", f"{tre['before']:.2f} mm (mean of {tre['count']} landmarks in the lungs)"),
        ("TRE after", f"{tre['mean']:.2f} mm mean, {tre['p90']:.2f} mm 90th percentile"),
        ("folding in the lungs", f"{folding:.3f} %"),
        ("inverse consistency", f"{measures['inverse_consistency_mm']:.4f} mm"),
        ("time of affine and fit", f"{seconds:.1f} s"),
    ]
    if output is not None:
        page = partial(nephi.report.page_html, result, landmarks=phantom.landmarks)
        result.save(output, overwrite, phantom.landmarks, page=page)
        for name in ("fixed", "moving", "fixed_mask", "moving_mask"):
            nephi.write_image(getattr(phantom, name), output / f"{name}.nii.gz")
        nephi.write_point_pairs(output / "landmarks.csv", phantom.landmarks, "lps")
        rows.append(("results", str(output)))
    if not quiet:
        print_rows("Lung phantom", rows)
    if verbose and not quiet:
        print_evaluation(measures, verbose=False)


def _keep_study(folder: Path, seed: int, has_other_options: bool, quiet: bool) -> None:
    """Write the study; it registers nothing, so that the pages start from images alone."""
    import nephi

    from .study import write_study

    if has_other_options:
        raise nephi.UsageError("--keep: cannot be combined with -o or --overwrite; it writes into a new folder")
    write_study(folder, seed)
    if not quiet:
        rows = [
            ("images", "exhale.nii.gz (fixed), inhale.nii.gz (moving); MR, masks, labels, DICOM series"),
            ("landmarks", "landmarks.csv; in the formats of other tools in points/"),
            ("transforms", "of ANTs, elastix, 3-D Slicer, greedy and FLIRT in transforms/"),
            ("2-D", "a pair in plane/, a data set for trainings in shapes/"),
            ("read on", str(folder / "README.txt")),
        ]
        print_rows(f"Study in {folder}", rows)
