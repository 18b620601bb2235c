"""`nephi predict`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    FILE,
    config_option,
    device_option,
    frame_option,
    seed_option,
    threads_option,
    verbosity_options,
)
from .predict_job import Job
from .predict_summary import describe_row, print_summary, write_summary
from .printing import echo_line
from .register_methods import check_align_options, resolve_settings
from .registration_options import FILES, RESULTS, Preset, RefineOptions, Results, align_option, refine_options
from .supervision import Journal, Row

if TYPE_CHECKING:
    from nephi.datasets import PairFiles

SUMMARY = "summary.csv"


@click.command(short_help="Register many pairs with a trained model.")
@click.argument("model", type=FILE, metavar="MODEL")
@click.argument("pairs", type=FILE, metavar="PAIRS")
@click.option("-o", "--output", type=FILE, required=True, metavar="OUT", help="Folder for the results.")
@click.option("--split", metavar="NAME", help="Split of the data set: train, val or test.  [default: test]")
@align_option
@refine_options
@click.option(
    "--preset",
    type=Preset(),
    metavar="NAME",
    help="Settings of the refinement; default: generic, with window and mask of the model.",
)
@config_option
@seed_option("Seed of the random sample points of the refinement.")
@device_option
@threads_option
@frame_option
@click.option(
    "--save",
    type=Results(),
    metavar="NAME,...",
    default=RESULTS,
    help="Results to write for each pair, see `nephi register --help`; report is always written.  [default: all]",
)
@click.option("--overwrite", is_flag=True, help="Register all pairs again, including those with results.")
@verbosity_options
@click.pass_obj
def predict(
    command_line: str | None,
    /,
    model: Path,
    pairs: Path,
    output: Path,
    split: str | None,
    align: tuple[str, ...],
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
    """Register all PAIRS with a trained MODEL.

    Each pair gets a folder with its results in OUT; OUT/summary.csv lists the measures of all pairs.

    PAIRS is the index of a data set (dataset.json, or its folder) or a CSV table with the columns fixed and moving and,
    optionally, name, fixed_mask, moving_mask, fixed_labels, moving_labels and landmarks. Paths in the table are
    relative to it.

    After an interruption, repeat the command: pairs with complete results are skipped. If a pair fails, the other pairs
    are still registered, and the exit code is 3. This holds even if a file crashes an image library, because pairs are
    registered in a subprocess.

    \b
    nephi predict lungs.safetensors datasets/dirlab_copd -o predicted
    nephi predict lungs.safetensors pairs.csv -o refined --refine 100 --save transform,report
    """
    import nephi

    stored = nephi.read_model(model)
    settings = resolve_settings(overrides, nephi.inference.settings_for(stored))
    check_align_options(stored, align, refine)
    results = tuple(name for name in RESULTS if name in save or name == "report")
    journal = Journal.inherited()
    job = Job(stored, settings, refine.refinement(), align, seed, device, frame, results, command_line or "", journal)
    cases = nephi.datasets.read_pairs(pairs, split)
    nephi.results.check_output_folder(output, True)
    _check_result_paths(output, cases)
    _check_input_paths(output, cases)
    if os.path.realpath(output / SUMMARY) == os.path.realpath(pairs):
        raise nephi.DataError(_overwritten(pairs))
    recorded = journal.rows()
    for name in recorded:  # completes or removes what a crash left half written
        nephi.results.check_output_folder(output / name, True)
    rows: list[Row] = []
    try:
        for number, case in enumerate(cases, start=1):
            if case.name in recorded:  # by the subprocess that crashed
                rows.append(recorded[case.name])
                continue
            rows.append(job.register(case, output / case.name, overwrite))
            journal.finish(rows[-1])
            if (error := rows[-1].get("error")) is not None:
                echo_line(f"nephi: pair {case.name}: {error}", err=True)
            elif not quiet:
                echo_line(f"[{number}/{len(cases)}] {describe_row(rows[-1], verbose)}")
    finally:
        if rows:  # after an interruption, the summary lists the finished pairs
            output.mkdir(parents=True, exist_ok=True)  # it does not exist if no pair succeeded
            earlier = [job.existing_row(case, output / case.name) for case in cases[len(rows) :]]
            rows += [row for row in earlier if row is not None]
            write_summary(rows, output / SUMMARY)
    if not quiet:
        print_summary(rows, output)
    failed = [row for row in rows if "error" in row]
    if failed:
        raise nephi.DataError(f"{len(failed)} of {len(cases)} pairs failed, see {output / SUMMARY}")


def _check_result_paths(output: Path, cases: Sequence[PairFiles]) -> None:
    """Raise `DataError` if the folder of a pair, or the summary, cannot be written because of its type."""
    from nephi import DataError

    for case in cases:
        if (output / case.name).exists() and not (output / case.name).is_dir():
            raise DataError(f"{output / case.name}: expected a folder for the results of a pair, got a file; remove it")
    if (output / SUMMARY).exists() and not (output / SUMMARY).is_file():
        raise DataError(f"{output / SUMMARY}: expected a file or none, got a folder or device; remove it")


def _check_input_paths(output: Path, cases: Sequence[PairFiles]) -> None:
    """Raise `DataError` if the results of one pair would overwrite an input of another."""
    from nephi import DataError

    folder, names = os.path.realpath(output), {case.name for case in cases}
    for case in cases:
        for path in vars(case).values():
            if not isinstance(path, Path):
                continue
            target = Path(os.path.realpath(path))
            if str(target.parent.parent) == folder and target.parent.name in names and target.name in FILES.values():
                raise DataError(_overwritten(path))


def _overwritten(path: Path) -> str:
    return f"{path}: this input would be overwritten by a result; choose another output folder"
