"""Measure the peak memory of one training step and of one refinement against the size of the images.

    python benchmarks/learned_memory.py [--sizes 96 128 160 192] [--device cuda] [-o FOLDER]

Every number is a separate process with one thread. `nephi`: an encoder predicts feature grids, and the loss is sampled
off the grid. `U-Net`: a network predicts the displacement of every voxel, and is trained with the same loss; its
refinement is training on one pair. The images are random, since the memory does not depend on their content. The
number is the resident memory of the process, or with `--device cuda` (sizes up to 512) the GPU memory allocated by
torch. Writes `learned_memory.md` and `learned_memory.json`, for a GPU `learned_memory_cuda.*`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

SIZES = {"cpu": (96, 128, 160, 192), "cuda": (96, 128, 160, 192, 256, 384, 512)}
TASKS = ("imports", "nephi train", "U-Net train", "nephi refine", "U-Net refine")


def one(task: str, size: int, device: str) -> None:
    """Run one task on images of `size` cubed and print its peak memory in MB."""
    import torch

    torch.set_num_threads(1)
    import nephi.models  # noqa: F401

    if task.endswith("train") or task == "U-Net refine":
        _training_step(task.split()[0], size, device)
    elif task == "nephi refine":
        _refinement(size, device)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print((torch.cuda.max_memory_allocated() if device == "cuda" else resident) / 1e6)


def _model(system: str) -> Any:
    from nephi.fields import FieldSettings
    from nephi.models import DisplacementUNetSettings, EncoderSettings, NephiSettings

    field = FieldSettings(spacings=(64.0, 32.0, 16.0, 8.0))
    encoder = EncoderSettings(filters=(8, 16, 32, 64, 128), finest=1)
    return DisplacementUNetSettings() if system == "U-Net" else NephiSettings(field=field, encoder=encoder)


def _frame(size: int) -> Any:
    from nephi.models import InputSettings

    spacing = 300.0 / size
    return InputSettings((size,) * 3, (spacing,) * 3, window=(0.0, 1.0))


def _training_step(system: str, size: int, device: str) -> None:
    import torch

    from nephi.models import build_model, input_grid
    from nephi.objective import PairBatch, training_terms

    generator = torch.Generator().manual_seed(0)
    network = build_model(_model(system), input_grid(_frame(size)), generator).to(device)
    adam = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 1e-4)
    batch = PairBatch(*(torch.rand(1, 1, size, size, size, generator=generator) for _ in range(2)))
    batch = batch.to(torch.device(device))
    sampling = {"similarity": "ncc + lncc2", "points": 500, "radius": 1, "background_points": 500}
    objective = replace(network.default_objective, **sampling)
    for _ in range(2):  # Adam's moments exist from the second step on
        adam.zero_grad()
        maps = network(batch.fixed, batch.moving)
        terms = training_terms(maps, batch, network.grid, objective, [generator])
        torch.stack(list(terms.values())).sum().backward()
        adam.step()


def _refinement(size: int, device: str) -> None:
    import torch

    import nephi
    from nephi.models import StoredModel, build_model, input_grid
    from nephi.settings import TrainingObjectiveSettings

    generator = torch.Generator().manual_seed(0)
    frame = _frame(size)
    network = build_model(_model("nephi"), input_grid(frame), generator).eval()
    model = StoredModel(network, frame, TrainingObjectiveSettings())
    grid = nephi.Grid.from_spacing((size,) * 3, frame.spacing, (0.0, 0.0, 0.0))
    images = [
        nephi.Image(torch.randint(0, 1000, grid.shape, generator=generator, dtype=torch.int16), grid) for _ in range(2)
    ]
    mask = nephi.Image(torch.ones(grid.shape, dtype=torch.uint8), grid)
    nephi.predict(
        *images,
        model=model,
        preset="lung-ct",
        fixed_mask=mask,
        moving_mask=mask,
        refinement=nephi.inference.Refinement(20),
        device=device,
    )


def measure_peak(task: str, size: int, device: str) -> float | None:
    """Return the peak memory of a task in a separate process, MB; None if it fails."""
    command = [sys.executable, __file__, "--one", task, "--sizes", str(size), "--device", device]
    process = subprocess.run(command, text=True, stdout=subprocess.PIPE, check=False)
    return float(process.stdout.split()[-1]) if process.returncode == 0 else None


def page(about: dict[str, Any], peaks: dict[str, dict[int, float | None]]) -> str:
    """Return the results in Markdown."""
    sizes = list(next(iter(peaks.values())))
    lines = ["# Memory of training and refinement", "", *(f"- {name}: {value}" for name, value in about.items()), ""]
    lines += [" ".join(__doc__.split("\n\n")[2].split()), "", "Peak memory, MB:", ""]
    lines += [f"| | {' | '.join(f'{size}^3' for size in sizes)} |", "|" + "---|" * (len(sizes) + 1)]
    for task, row in peaks.items():
        cells = ["failed" if row[size] is None else f"{row[size]:.0f}" for size in sizes]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    for phase in ("train", "refine"):
        ratios = [_times(peaks, phase, size) for size in sizes]
        lines.append(f"| U-Net relative to nephi, {phase}, without imports | {' | '.join(ratios)} |")
    return "\n".join(lines) + "\n"


def _times(peaks: dict[str, dict[int, float | None]], phase: str, size: int) -> str:
    ours, theirs, floor = (peaks[task][size] for task in (f"nephi {phase}", f"U-Net {phase}", "imports"))
    return "" if ours is None or theirs is None or floor is None else f"{(theirs - floor) / (ours - floor):.0f} times"


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        sys.exit("--device cuda: expected a GPU, found none; leave the option out to measure on the CPU")
    return torch.cuda.get_device_name()


def main() -> None:
    """Measure everything and write the page."""
    from machine import machine

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--device", choices=SIZES, default="cpu")
    parser.add_argument("--one", metavar="TASK", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    if args.one:
        one(args.one, args.sizes[0], args.device)
        return
    about = machine()
    if args.device == "cuda":
        about["device"] = _gpu()
    peaks: dict[str, dict[int, float | None]] = {}
    for task in TASKS:
        peaks[task] = {}
        for size in args.sizes or SIZES[args.device]:
            peaks[task][size] = measure_peak(task, size, args.device)
            print(task, size, peaks[task][size], flush=True)
    args.output.mkdir(parents=True, exist_ok=True)
    name = "learned_memory_cuda" if args.device == "cuda" else "learned_memory"
    (args.output / f"{name}.json").write_text(json.dumps({"about": about, "peaks_mb": peaks}, indent=2) + "\n")
    (args.output / f"{name}.md").write_text(page(about, peaks))


if __name__ == "__main__":
    main()
