"""Compare inverse consistency at points on and off the grid, and folds at equal similarity, on hollow shapes.

    python benchmarks/family_icon.py [--size 32] [--steps 300] [--batch 8] [--rows grid sweep] [-o FOLDER]

Triangles and circles are drawn in memory and slim U-Nets are trained on them, one after the other, in this process.
`grid` trains ICON with all points of its loss at voxel centres, and anywhere; `sweep` trains one network with each of
four penalties and several weights. Writes `family_icon.md`, `.json` and `.png`, after each model; models that are in
the `.json` already, trained in the same way, are not trained again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from family_icon_page import write_page
from machine import machine
from torch import Tensor

import nephi
from nephi.geometry import Grid, determinant, interpolate_batch
from nephi.metrics import is_folded
from nephi.models import GradICONSettings, ICONSettings, ModelSettings, PairNetwork, UNetSettings, build_model
from nephi.objective import PairBatch, SamplePoints, compared_images, loss_terms, training_terms
from nephi.phantoms import silhouettes
from nephi.settings import TrainingObjectiveSettings
from nephi.transforms import DisplacementMaps, MapPair

ROWS = ("tables", "grid", "sweep")
TEST_PAIRS = 200
TRAINING_SHAPES = 2000
RATE = 1e-3
EDGE = 128.0  # mm, of an image of any size, so that weights per mm^2 mean the same
UNET = UNetSettings((16, 32, 32, 64))
GRID_MODEL, SWEEP_MODEL = ICONSettings((1, 1), UNET), GradICONSettings((2, 1), UNET)
OBJECTIVE = TrainingObjectiveSettings(gradicon=0.0, codes=0.0, points=1024, background_points=512)
PUBLISHED = 0.0214  # ICON's lambda of 700 for hollow shapes, see nephi.models.icon
WORK = Path(__file__).parent / "work" / "family_icon"
SWEEP = {
    "icon": (0.0002, 0.001, 0.005, 0.025),
    "gradicon": (0.02, 0.1, 0.4, 1.6),
    "bending": (1.0, 6.0, 36.0, 200.0),
    "diffusion": (0.02, 0.1, 0.3, 1.0),
}


TABLE_WEIGHTS, TABLE_PAIRS, TABLE_RATE = (0.005, 0.05, 0.5, 5.0), 32, 0.5  # the step size of a displacement, mm


@dataclass(frozen=True)
class Run:
    """One model to train: its network, None for a displacement of every pixel, and the weights of its objective."""

    name: str
    model: ModelSettings | None
    objective: TrainingObjectiveSettings


@dataclass(frozen=True)
class Budget:
    """How each model is trained: images of `size` by `size` pixels, `steps` steps with `batch` pairs each."""

    size: int
    steps: int
    batch: int


def runs(names: list[str]) -> Iterator[Run]:
    """Return the models to train."""
    for weight in TABLE_WEIGHTS if "tables" in names else ():
        for sampling in ("random", "grid"):
            yield Run(f"tables-{sampling} {weight:g}", None, replace(OBJECTIVE, icon=weight, sampling=sampling))
    for sampling in ("random", "grid") if "grid" in names else ():
        for weight in (PUBLISHED, 10 * PUBLISHED):
            yield Run(f"{sampling} {weight:g}", GRID_MODEL, replace(OBJECTIVE, icon=weight, sampling=sampling))
    for term, weights in SWEEP.items() if "sweep" in names else ():
        for weight in weights:
            yield Run(f"{term} {weight:g}", SWEEP_MODEL, replace(OBJECTIVE, **{term: weight}))


def train(run: Run, settings: ModelSettings, grid: Grid, budget: Budget, seed: int) -> PairNetwork:
    """Train a model on random pairs of hollow shapes by Adam."""
    generator = torch.Generator().manual_seed(seed)
    images, _ = silhouettes(TRAINING_SHAPES, generator, budget.size, hollow=True)
    model = build_model(settings, grid, generator)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    for _ in range(budget.steps):
        chosen = torch.randint(TRAINING_SHAPES, (2, budget.batch), generator=generator)
        batch = PairBatch(*(images[part].unsqueeze(1) for part in chosen))
        maps = model(batch.fixed, batch.moving)
        terms = training_terms(maps, batch, grid, run.objective, [generator] * budget.batch)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
    return model.eval()


def fitted_tables(run: Run, pairs: PairBatch, grid: Grid, budget: Budget, seed: int) -> MapPair:
    """Fit a displacement of every pixel and its inverse by Adam, with the similarity at all voxel centres."""
    generator = torch.Generator().manual_seed(seed)
    count, centres = len(pairs.fixed), _centres(grid, len(pairs.fixed))
    tables = [torch.zeros(count, 2, *grid.shape, dtype=torch.float32, requires_grad=True) for _ in range(2)]
    optimizer = torch.optim.Adam(tables, lr=TABLE_RATE)
    images = compared_images(pairs, grid, run.objective)
    for _ in range(budget.steps):
        drawn = EDGE * (1 - 1 / budget.size) * torch.rand(centres.shape, generator=generator, dtype=torch.float32)
        background = centres if run.objective.sampling == "grid" else drawn
        maps = MapPair(*(DisplacementMaps(table, grid) for table in tables))
        terms = loss_terms(maps, images, SamplePoints(centres, centres, background), run.objective)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
    return MapPair(*(DisplacementMaps(table.detach(), grid) for table in tables))


def unseen_pairs(count: int, size: int) -> tuple[PairBatch, Tensor, Tensor]:
    """Return pairs that no model is trained on, and their label maps `(B, size, size)`."""
    images, labels = silhouettes(2 * count, torch.Generator().manual_seed(10_000), size, hollow=True)
    return PairBatch(images[::2].unsqueeze(1), images[1::2].unsqueeze(1)), labels[::2], labels[1::2]


@torch.no_grad()
def score(
    maps: MapPair, pairs: PairBatch, labels: tuple[Tensor, Tensor], grid: Grid, example: Path
) -> dict[str, float]:
    """Measure maps at voxel centres, and their folds at random points between them as well.

    Images, mapped voxel centres and folds of the pairs are written to the file `example`, to be drawn.
    """
    points = _centres(grid, len(pairs.fixed))
    displaced, jacobians = maps.forward.value_and_jacobian(points)
    own = torch.Generator().manual_seed(7)
    anywhere = points.amax() * torch.rand(points.shape, generator=own, dtype=torch.float32)
    between = is_folded(determinant(maps.forward.value_and_jacobian(anywhere)[1]))
    warped = interpolate_batch(pairs.moving, grid, displaced)
    assert maps.inverse is not None
    parts = {"fixed": pairs.fixed, "moving": pairs.moving, "displaced": displaced, "folds": between.sum(dim=1)}
    example.parent.mkdir(parents=True, exist_ok=True)
    torch.save(parts, example)
    return {
        "similarity": _correlation(pairs.fixed.flatten(1), warped.flatten(1)),
        "dice": _dice(labels[0].flatten(1), _nearest(labels[1], grid, displaced)),
        "folds_percent": 100 * float(is_folded(determinant(jacobians)).double().mean()),
        "folds_between_percent": 100 * float(between.double().mean()),
        "folded_pairs_percent": 100 * float(between.any(dim=1).double().mean()),
        "inverse_error_mm": float((maps.inverse(displaced) - points).norm(dim=-1).mean()),
    }


def _centres(grid: Grid, pairs: int) -> Tensor:
    return grid.voxel_centres().float().reshape(1, -1, 2).expand(pairs, -1, -1)


def _correlation(fixed: Tensor, warped: Tensor) -> float:
    """Return the mean over the pairs of the correlation of all pixels."""
    return float(
        torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(fixed, warped, strict=True)]).mean()
    )


def _nearest(labels: Tensor, grid: Grid, points: Tensor) -> Tensor:
    """Return label maps at the pixels nearest to the points."""
    pixels = grid.world_to_voxel_points(points).round().long()
    last = torch.tensor(grid.shape) - 1
    pixels = pixels.clamp(min=0).minimum(last)
    pairs = torch.arange(len(labels)).unsqueeze(1)
    return labels[pairs, pixels[..., 0], pixels[..., 1]]


def _dice(fixed: Tensor, warped: Tensor) -> float:
    """Return the mean over the pairs of the overlap of the lines."""
    shared = (fixed & warped).sum(dim=1)
    return float((2 * shared / (fixed.sum(dim=1) + warped.sum(dim=1))).mean())


def measure(run: Run, budget: Budget, seed: int) -> dict[str, Any]:
    """Return the scores of a run, and the time it took."""
    grid = nephi.Grid.from_spacing((budget.size,) * 2, (EDGE / budget.size,) * 2, (0.0, 0.0))
    pairs, *labels = unseen_pairs(TABLE_PAIRS if run.model is None else TEST_PAIRS, budget.size)
    start = time.perf_counter()
    if run.model is None:
        maps = fitted_tables(run, pairs, grid, budget, seed)
    else:
        model = train(run, run.model, grid, budget, seed)
        with torch.no_grad():
            maps = model(pairs.fixed, pairs.moving)
    seconds = time.perf_counter() - start
    return {**score(maps, pairs, (labels[0], labels[1]), grid, WORK / f"{run.name}.pt"), "seconds": seconds}


def main() -> None:
    """Train, score and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    budget = Budget(args.size, args.steps, args.batch)
    path = args.output / "family_icon.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rows": {}}
    for run in runs(args.rows):
        trained = {
            **asdict(budget),
            "seed": args.seed,
            "model": run.model and asdict(run.model),
            "objective": asdict(run.objective),
        }
        trained = json.loads(json.dumps(trained))
        if results["rows"].get(run.name, {}).get("trained") == trained:
            continue
        row = {"trained": trained, **measure(run, budget, args.seed)}
        print(run.name, {name: round(value, 4) for name, value in row.items() if name != "trained"}, flush=True)
        results = {"rows": {**results["rows"], run.name: row}, "machine": machine()}
        path.write_text(json.dumps(results, indent=1), encoding="utf-8")
        write_page(results, args.output, WORK)


if __name__ == "__main__":
    main()
