"""Evaluate a trained model on the test split: `python benchmarks/shape_scores.py RUN DATASET` prints JSON."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import torch

import nephi
from nephi.comparison.scoring import score_model
from nephi.runtime import ignore_progress


def scores(run: Path, data: Path) -> dict[str, Any]:
    """Return the mean Dice, that of the worst percent of the pairs, the percentage of folds, and the training cost."""
    index = nephi.datasets.read_dataset_index(data)
    scoring = nephi.comparison.ScoringSettings("test", len(index.pairs("test")), equivariance_pairs=0)
    model = nephi.read_model(run / "last.safetensors")
    means, _ = score_model(model, index, scoring, torch.device("cpu"), ignore_progress)
    with (run / "log.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    return {
        **{name: means[name] for name in ("pairs", "dice", "dice_worst_percent", "folding_percent")},
        "steps": int(rows[-1]["step"]),
        "minutes": _seconds([float(row["seconds"]) for row in rows]) / 60,
        "parameters": means["parameters"],
    }


def _seconds(until: list[float]) -> float:
    """Return the time of the steps; an interval with an interruption counts as the median interval."""
    durations = torch.tensor(until).diff(prepend=torch.zeros(1))
    median = durations.median()
    return float(torch.where(durations > 10 * median, median, durations).sum())


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(scores(Path(sys.argv[1]), Path(sys.argv[2]))))
