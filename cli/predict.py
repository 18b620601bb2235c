"""`nephi predict`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .model_options import RefineOptions, refine_options
from .options import FILE, device_option, frame_option, verbosity_options
from .point_options import read_landmarks
from .predict_summary import Row, failed_row, finished_row, row_of_report, summary_table, told, write_summary
from .register_methods import chosen_settings
from .register_options import (
    RESULTS,
    Preset,
    Results,
    config_option,
    seed_option,
    threads_option,
)

if TYPE_CHECKING:
    from nephi import Image, PairFiles, Refinement, Settings, StoredModel

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
    job = _Job(stored, settings, refine.refinement(), seed, device, frame, wanted, command or "")
    cases = nephi.read_pairs(pairs, split)
    nephi.check_output_folder(output, True)
    if (output / SUMMARY).resolve() == pairs.resolve():
        raise nephi.DataError(f"{pairs}: is given as an input, and lies where a result goes; choose another folder")
    rows: list[Row] = []
    try:
        for number, case in enumerate(cases, start=1):
            rows.append(_row(job, case, output / case.name, overwrite))
            if (error := rows[-1].get("error")) is not None:
                click.echo(f"nephi: pair {case.name}: {error}", err=True)
            elif not quiet:
                click.echo(f"[{number}/{len(cases)}] {told(rows[-1], verbose)}")
    finally:
        if rows:  # what was done before an interruption counts
            output.mkdir(parents=True, exist_ok=True)  # where no pair succeeded it is not there yet
            rows += [row for case in cases[len(rows) :] if (row := _kept(job, case, output / case.name)) is not None]
            write_summary(rows, output / SUMMARY)
    if not quiet:
        summary_table(rows, output)
    failed = [row for row in rows if "error" in row]
    if failed:
        raise nephi.DataError(f"{len(failed)} of {len(cases)} pairs failed, see {output / 'summary.csv'}")


@dataclass(frozen=True)
class _Job:
    """What is done with every pair."""

    model: StoredModel
    settings: Settings
    refinement: Refinement
    seed: int
    device: str
    frame: str
    save: tuple[str, ...]
    command: str

    @cached_property
    def about(self) -> dict[str, Any]:
        """What a report has to say for its result to be one of this job."""
        import nephi

        return {
            "model": nephi.model_digest(self.model),
            "refinement": vars(self.refinement),
            "settings_digest": nephi.settings_digest(self.settings, self.refinement),
            "seed": self.seed,
        }


def _row(job: _Job, case: PairFiles, folder: Path, overwrite: bool) -> Row:
    """Register a pair, unless its result is there; return what was measured, or what went wrong."""
    import nephi

    try:
        if not overwrite and (row := finished_row(case, folder, job.save, job.about)) is not None:
            return row
        return _registered(job, case, folder)
    except nephi.DataError as error:
        return failed_row(case, str(error))
    except OSError as error:
        return failed_row(case, f"{error.filename or 'system'}: {error.strerror or error}")


def _kept(job: _Job, case: PairFiles, folder: Path) -> Row | None:
    """Return the row of a pair that an interruption left to an earlier call."""
    import nephi

    try:
        return finished_row(case, folder, job.save, job.about)
    except nephi.DataError:
        return None


def _registered(job: _Job, case: PairFiles, folder: Path) -> Row:
    import nephi

    images = [nephi.read_image(path) for path in (case.fixed, case.moving)]
    for image in images:
        nephi.require_exportable(image)
    landmarks, labels = read_landmarks(case.landmarks, job.frame, images[0].dimension), _labels(case)
    result = nephi.predict(
        images[0],
        images[1],
        model=job.model,
        settings=job.settings,
        fixed_mask=case.fixed_mask,
        moving_mask=case.moving_mask,
        refinement=job.refinement,
        seed=job.seed,
        device=job.device,
    )
    report = result.save(folder, True, landmarks, [name for name in job.save if name != "page"], labels)
    if "page" in job.save:
        nephi.write_report(result, folder, command=job.command, landmarks=landmarks)
    return row_of_report(case, report)


def _labels(case: PairFiles) -> tuple[Image, Image] | None:
    import nephi

    if case.fixed_labels is None or case.moving_labels is None:
        return None
    return nephi.read_image(case.fixed_labels), nephi.read_image(case.moving_labels)
