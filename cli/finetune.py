"""`nephi finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import FILE
from .training import require_outside, run_training, training_options


@click.command(short_help="Go on training a model on another data set.")
@click.argument("model", type=FILE, metavar="MODEL")
@click.argument("config", type=FILE, metavar="CONFIG.toml")
@training_options
def finetune(model: Path, config: Path, **options: Any) -> None:
    """Train on from MODEL, as CONFIG.toml says, and write the new model to RUN; MODEL stays as it is.

    \b
    nephi finetune runs/lungs/best.safetensors clinic.toml -o runs/clinic

    Frame and architecture are those of MODEL; CONFIG.toml leaves them out. Files and options are those of nephi train.
    """
    import nephi

    stored = nephi.read_model(model)
    require_outside(options["output"], model, config)
    run_training(nephi.training.read_train_settings(config, stored), stored, **options)
