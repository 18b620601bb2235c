"""`nephi predict`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .journal import Journal, Row
from .model_options import RefineOptions, refine_options
from .options import FILE, device_option, frame_option, verbosity_options
from .predict_job import Job
from .predict_summary import summary_table, told, write_summary
from .printing import echo_line
from .register_methods import chosen_settings
from .register_options import (
    FILES,
    RESULTS,
    Preset,
    Results,
    config_option,
    seed_option,
    threads_option,
)

if TYPE_CHECKING:
    from nephi.datasets import PairFiles

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

    A second call goes on where the first one ended. A pair that fails is reported, the others are done all the same;
    the exit code then is 3. A pair whose files crash a library fails like any other: pairs are registered in a process
    of their own, which is started again after a crash.

    \b
    nephi predict lungs.safetensors datasets/dirlab_copd -o predicted
    nephi predict lungs.safetensors pairs.csv -o refined --refine 100 --save transform,report
    """
    import nephi

    stored = nephi.read_model(model)
    settings = chosen_settings(overrides, nephi.inference.settings_for(stored))
    wanted = tuple(name for name in RESULTS if name in save or name == "report")
    journal = Journal.inherited()
    job = Job(stored, settings, refine.refinement(), seed, device, frame, wanted, command or "", journal)
    cases = nephi.datasets.read_pairs(pairs, split)
    nephi.results.check_output_folder(output, True)
    _require_places(output, cases)
    _require_inputs_apart(output, cases)
    if os.path.realpath(output / SUMMARY) == os.path.realpath(pairs):
        raise nephi.DataError(f"{pairs}: is given as an input, and lies where a result goes; choose another folder")
    known = journal.rows()
    for name in known:  # a crash may have come in the middle of writing
        nephi.results.check_output_folder(output / name, True)
    rows: list[Row] = []
    try:
        for number, case in enumerate(cases, start=1):
            if case.name in known:  # from the process before this one
                rows.append(known[case.name])
                continue
            rows.append(job.row(case, output / case.name, overwrite))
            journal.finish(rows[-1])
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


def _require_places(output: Path, cases: Sequence[PairFiles]) -> None:
    """Raise `DataError` where something else lies in the place of a pair's folder or of the summary."""
    from nephi import DataError

    for case in cases:
        if (output / case.name).exists() and not (output / case.name).is_dir():
            raise DataError(
                f"{output / case.name}: expected the folder of a pair's results, found a file; move it away"
            )
    if (output / SUMMARY).exists() and not (output / SUMMARY).is_file():
        raise DataError(f"{output / SUMMARY}: expected a file or nothing there, found something else; move it away")


def _require_inputs_apart(output: Path, cases: Sequence[PairFiles]) -> None:
    """Raise `DataError` when a file of one pair lies where a result of another one goes: it would be replaced."""
    from nephi import DataError

    folder, names = os.path.realpath(output), {case.name for case in cases}
    for case in cases:
        for path in vars(case).values():
            if not isinstance(path, Path):
                continue
            place = Path(os.path.realpath(path))
            if str(place.parent.parent) == folder and place.parent.name in names and place.name in FILES.values():
                raise DataError(f"{path}: is given as an input, and lies where a result goes; choose another folder")
