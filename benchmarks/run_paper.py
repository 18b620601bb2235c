"""Register one pair with the preset of a paper, with as many steps as a time limit allows.

    run_paper.py PRESET FIXED MOVING FIXED_MASK|none MOVING_MASK|none OUTDIR SECONDS [--threads N]

On a CPU these presets take an hour and more. A few steps are timed first; if all steps and the writing of the results
would take longer than SECONDS, the last level is shortened (its learning rate is constant, so this equals stopping the
fit), and `OUTDIR/cut.txt` states the number of steps. The inverse field is not written: these presets have no kernels
for it, and it would take as long as the fit.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import nephi

RESERVE = 0.4  # fraction of the time reserved for writing and scoring the field, and for changes of the load


class Enough(Exception):
    """Raised when enough steps have been timed."""


def pace(images: list[nephi.Image], masks: dict[str, nephi.Image | None], settings: nephi.Settings) -> float:
    """Return the seconds per step, from the first two progress reports of the deformable fit."""
    times: list[tuple[int, float]] = []

    def watch(progress: nephi.optimize.Progress) -> None:
        if progress.stage == "deformable":
            times.append((progress.step, time.perf_counter()))
        if len(times) == 2:
            raise Enough

    try:
        nephi.register(*images, settings=settings, progress=watch, device="cpu", **masks)
    except Enough:
        (first, first_time), (second, second_time) = times
        return (second_time - first_time) / (second - first)
    return 0.0  # so few steps that none is omitted


def main() -> None:
    """Time, register, write."""
    start = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    for name in ("fixed", "moving", "fixed_mask", "moving_mask"):
        parser.add_argument(name, type=lambda text: None if text == "none" else nephi.read_image(text))
    parser.add_argument("output", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    settings = replace(nephi.preset(args.preset), threads=args.threads)
    images = [args.fixed, args.moving]
    masks = {"fixed_mask": args.fixed_mask, "moving_mask": args.moving_mask}
    per_step = pace(images, masks, settings)
    remaining = start + (1 - RESERVE) * args.seconds - time.perf_counter()
    *levels, last = settings.levels
    planned = sum(level.steps for level in settings.levels)
    max_steps = int(remaining / per_step) if per_step else planned
    cut = replace(last, steps=max(1, last.steps - max(0, planned - max_steps)))
    settings = replace(settings, levels=(*levels, cut))
    result = nephi.register(*images, settings=settings, device="cpu", **masks)
    result.save(args.output, overwrite=True, outputs=["transform", "warp", "report"])
    if cut.steps < last.steps:
        (args.output / "cut.txt").write_text(f"{planned - last.steps + cut.steps} of {planned} steps\n")


if __name__ == "__main__":
    main()
