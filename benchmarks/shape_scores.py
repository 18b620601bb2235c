"""Evaluate a trained model on the test split: `python benchmarks/shape_scores.py RUN DATASET` prints JSON."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import torch

import nephi
from nephi.training.cache import ModelInputCache
from nephi.training.validation import validate_pair


def scores(run: Path, data: Path) -> dict[str, Any]:
    """Return the mean Dice, that of the worst percent of the pairs, the percentage of folds, and the training cost."""
    model = nephi.read_model(run / "last.safetensors")
    index = nephi.datasets.read_dataset_index(data)
    inputs = ModelInputCache(index, model.input, 1e9)
    measures = [validate_pair(model.model, pair, inputs, torch.device("cpu")).measures for pair in index.pairs("test")]
    dice = torch.tensor([row["dice"] for row in measures]).sort().values
    with (run / "log.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    return {
        "pairs": len(measures),
        "dice": float(dice.mean()),
        "dice_worst_percent": float(dice[: max(1, len(dice) // 100)].mean()),
        "folding_percent": sum(row["folding_percent"] for row in measures) / len(measures),
        "steps": int(rows[-1]["step"]),
        "minutes": _seconds([float(row["seconds"]) for row in rows]) / 60,
        "parameters": sum(p.numel() for p in model.model.parameters() if p.requires_grad),
    }


def _seconds(until: list[float]) -> float:
    """Return the time of the steps; an interval with an interruption counts as the median interval."""
    durations = torch.tensor(until).diff(prepend=torch.zeros(1))
    median = durations.median()
    return float(torch.where(durations > 10 * median, median, durations).sum())


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(scores(Path(sys.argv[1]), Path(sys.argv[2]))))
