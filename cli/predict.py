"""`nephi predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .model_options import RefineOptions, refine_options
from .options import FILE, device_option, frame_option, verbosity_options
from .predict_job import Job
from .predict_summary import Row, summary_table, told, write_summary
from .printing import echo_line
from .register_methods import chosen_settings
from .register_options import (
    RESULTS,
    Preset,
    Results,
    config_option,
    seed_option,
    threads_option,
)

SUMMARY = "summary.csv"


@click.command(short_help="Register many pairs by a trained model.")
@click.argument("model", type=FILE, metavar="MODEL")
@click.argument("pairs", type=FILE, metavar="PAIRS")
@click.option("-o", "--output", type=FILE, required=True, metavar="OUT", help="Folder for the results, one a pair.")
@click.option("--split", metavar="NAME", help="Pairs of a data set: train, val or test.  [default: test]")
@refine_options
@click.option("--preset", type=Preset(), metavar="NAME", help="Settings to refine by, instead of the model's own.")
@config_option
@seed_option("Seed of the random points of a refinement.")
@device_option
@threads_option
@frame_option
@click.option(
    "--save",
    type=Results(),
    metavar="NAME,...",
    default=RESULTS,
    help="Results to write for each pair, as `nephi register`; report is always among them.  [default: all of them]",
)
@click.option("--overwrite", is_flag=True, help="Register pairs again that are there already.")
@verbosity_options
@click.pass_obj
def predict(
    command: str | None,
    /,
    model: Path,
    pairs: Path,
    output: Path,
    split: str | None,
    refine: RefineOptions,
    seed: int,
    device: str,
    frame: str,
    save: tuple[str, ...],
    overwrite: bool,
    quiet: bool,
    verbose: bool,
    **overrides: Any,
) -> None:
    """Register all PAIRS by a trained MODEL: a folder a pair in OUT, and OUT/summary.csv with what was measured.

    PAIRS is the index of a data set (dataset.json, or its folder) or a CSV table with the columns fixed and moving, and
    if you like name, fixed_mask, moving_mask, fixed_labels, moving_labels and landmarks; its paths are relative to it.

    A second call goes on where the first one ended. A pair that fails is told, the others are done all the same; the
    exit code then is 3.

    \b
    nephi predict lungs.safetensors datasets/dirlab_copd -o predicted
    nephi predict lungs.safetensors pairs.csv -o refined --refine 100 --save transform,report
    """
    import nephi

    stored = nephi.read_model(model)
    settings = chosen_settings(overrides, nephi.settings_for(stored))
    wanted = tuple(name for name in RESULTS if name in save or name == "report")
    job = Job(stored, settings, refine.refinement(), seed, device, frame, wanted, command or "")
    cases = nephi.read_pairs(pairs, split)
    nephi.check_output_folder(output, True)
    if (output / SUMMARY).resolve() == pairs.resolve():
        raise nephi.DataError(f"{pairs}: is given as an input, and lies where a result goes; choose another folder")
    rows: list[Row] = []
    try:
        for number, case in enumerate(cases, start=1):
            rows.append(job.row(case, output / case.name, overwrite))
            if (error := rows[-1].get("error")) is not None:
                echo_line(f"nephi: pair {case.name}: {error}", err=True)
            elif not quiet:
                echo_line(f"[{number}/{len(cases)}] {told(rows[-1], verbose)}")
    finally:
        if rows:  # what was done before an interruption counts
            output.mkdir(parents=True, exist_ok=True)  # where no pair succeeded it is not there yet
            rows += [row for case in cases[len(rows) :] if (row := job.kept(case, output / case.name)) is not None]
            write_summary(rows, output / SUMMARY)
    if not quiet:
        summary_table(rows, output)
    failed = [row for row in rows if "error" in row]
    if failed:
        raise nephi.DataError(f"{len(failed)} of {len(cases)} pairs failed, see {output / 'summary.csv'}")
