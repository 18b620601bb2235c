"""What `nephi train` and `nephi finetune` share."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import FILE, Command, device_option, verbosity_options
from .printing import echo
from .progress import progress_bar
from .tables import print_rows

if TYPE_CHECKING:
    from nephi.models import StoredModel
    from nephi.training import TrainSettings

INTERRUPTED = 130
CHATTER = ("lightning_fabric.utilities.distributed", "lightning_fabric.utilities.rank_zero")  # who joins, and how


def training_options(command: Command) -> Command:
    """Add the options of a training, after its configuration."""
    for option in reversed(
        (
            click.option("-o", "--output", type=FILE, required=True, metavar="RUN", help="Folder for the run."),
            click.option("--resume", is_flag=True, help="Go on with the run in RUN from its last checkpoint."),
            click.option("--overwrite", is_flag=True, help="Start anew in RUN; the run that is there goes."),
            device_option,
            click.option(
                "--devices",
                type=click.IntRange(min=1),
                metavar="N",
                default=1,
                show_default=True,
                help="Processes on this machine, one for each GPU; torchrun starts them on several machines.",
            ),
            verbosity_options,
        )
    ):
        command = option(command)
    return command


def require_outside(run: Path, *inputs: Path) -> None:
    """Refuse inputs in the folder of the run: what an older run left there is taken away."""
    import nephi

    for path in inputs:
        if run.resolve() in path.resolve().parents:
            raise nephi.DataError(f"{path}: is given as an input, and lies in the run's folder; choose another RUN")


def run_training(
    settings: TrainSettings,
    model: StoredModel | None,
    output: Path,
    *,
    resume: bool,
    overwrite: bool,
    device: str,
    devices: int,
    quiet: bool,
    verbose: bool,
) -> None:
    """Train with a progress bar and say what came of it; end with code 130 when it was interrupted."""
    import nephi

    for name in CHATTER:
        logging.getLogger(name).setLevel(logging.WARNING)
    # What torch has to say to Lightning is nothing that users of nephi could change.
    warnings.filterwarnings("ignore", category=FutureWarning, module="lightning_fabric")
    # Of several processes one speaks.
    quiet = quiet or os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) != "0"
    if verbose and not quiet:
        echo(nephi.training.train_settings_toml(settings))
    with progress_bar(quiet) as progress:
        result = nephi.train(
            settings,
            output,
            model=model,
            resume=resume,
            overwrite=overwrite,
            device=device,
            devices=devices,
            progress=progress,
        )
    if not quiet:
        rows = [("steps", f"{result.steps} of {result.planned}"), ("last model", str(result.last))]
        if result.best is not None:
            rows.append((f"best model (step {result.best_step})", str(result.best)))
        rows.append(("curves and pictures", f"tensorboard --logdir {result.folder}"))
        print_rows("Trained" if result.finished else "Interrupted; the state is saved, --resume goes on", rows)
    if not result.finished:
        raise click.exceptions.Exit(INTERRUPTED)
