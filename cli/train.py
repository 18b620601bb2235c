"""`nephi train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import FILE
from .training import require_outside, run_training, training_options


@click.command(short_help="Train a model on a data set.")
@click.argument("config", type=FILE, metavar="CONFIG.toml")
@training_options
def train(config: Path, **options: Any) -> None:
    """Train a model that predicts deformations, as CONFIG.toml says, and write it to RUN.

    \b
    nephi train shapes.toml -o runs/shapes
    nephi train shapes.toml -o runs/shapes --resume
    torchrun --nproc-per-node 4 -m nephi.cli train shapes.toml -o runs/shapes

    \b
    best.safetensors   the model of the best validation
    last.safetensors   the model of the last checkpoint
    state.safetensors  what --resume needs
    log.csv, validation.csv, tensorboard/  curves and pictures
    config.toml        the full settings

    Ctrl-C saves the state and ends with exit code 130. Needs pip install nephi[train].
    """
    import nephi

    require_outside(options["output"], config)
    run_training(nephi.training.read_train_settings(config), None, **options)
