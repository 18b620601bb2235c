"""`nephi demo`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from .options import FILE, verbosity_options
from .printing import echo_line
from .progress import progress_bar
from .tables import evaluation_table, print_rows


@click.command(short_help="Register a breathing-lung phantom and print before and after.")
@click.option("-o", "--output", type=FILE, metavar="OUTDIR", help="Also keep the images and results in a folder.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    metavar="N",
    default=0,
    show_default=True,
    help="Seed of phantom and fit.",
)
@click.option("--overwrite", is_flag=True, help="Write into OUTDIR even if it is not empty.")
@verbosity_options
def demo(output: Path | None, seed: int, overwrite: bool, quiet: bool, verbose: bool) -> None:
    """Make a pair of breathing lungs with a known motion in memory, register it, and print the error.

    \b
    nephi demo
    nephi demo -o demo_result && nephi view demo_result --landmarks demo_result/landmarks.csv
    """
    import nephi

    if output is not None:
        nephi.results.check_output_folder(output, overwrite)
    if not quiet:
        echo_line("Making a breathing-lung phantom: two CT volumes, about 20 mm of motion ...")
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
    tre, found = measures["tre_mm"], measures["regularity"]
    seconds = sum(result.usage.stages[name]["wall_s"] for name in ("affine", "fit"))
    rows = [
        ("landmark error before", f"{tre['before']:.2f} mm (mean of {tre['count']} points in the lungs)"),
        ("landmark error after", f"{tre['mean']:.2f} mm mean, {tre['p90']:.2f} mm 90th percentile"),
        ("folding in the lungs", f"{found['folding_percent']:.3f} %"),
        ("inverse consistency", f"{measures['inverse_consistency_mm']:.4f} mm"),
        ("affine and fit took", f"{seconds:.1f} s"),
    ]
    if output is not None:
        page = partial(nephi.report.page_html, result, landmarks=phantom.landmarks)
        result.save(output, overwrite, phantom.landmarks, page=page)
        for name in ("fixed", "moving", "fixed_mask", "moving_mask"):
            nephi.write_image(getattr(phantom, name), output / f"{name}.nii.gz")
        nephi.write_point_pairs(output / "landmarks.csv", phantom.landmarks, "lps")
        rows.append(("kept in", str(output)))
    if not quiet:
        print_rows("Breathing-lung phantom", rows)
    if verbose and not quiet:
        evaluation_table(measures, verbose=False)
