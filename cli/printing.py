"""Everything the commands print: lines, tables and the progress bar, with control characters escaped.

rich is imported inside the functions: a command that prints no table does not wait for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nephi.errors import printable

if TYPE_CHECKING:
    from nephi.optimize import Plan, Progress

Rows = list[tuple[str, str]]
REGIONS = {"masks": "masks", "foreground": "foregrounds"}


def echo(text: str, *, err: bool = False) -> None:
    """Print lines on standard output, or on standard error."""
    _print("\n".join(map(printable, text.split("\n"))), err)


def echo_line(text: str, *, err: bool = False) -> None:
    """Print one line; line breaks, which may come from a file or its name, are escaped as well."""
    _print(printable(text), err)


def _print(text: str, err: bool) -> None:
    print(text, file=sys.stderr if err else sys.stdout, flush=True)


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Yield a callback that shows stage, loss and remaining time on standard error; it does nothing in a pipe."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description:10s}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("prepare", total=None, loss="")

        def show(progress: Progress) -> None:
            is_new_stage = bar.tasks[0].description != progress.stage
            bar.update(
                task,
                refresh=is_new_stage,  # a stage may end before the bar's own next refresh
                description=progress.stage,
                completed=progress.step,
                total=progress.total,
                loss=f"{progress.loss:.4f}",
            )

        yield show


def print_rows(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print two columns under a title; lines in a pipe are never folded."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(printable(name), printable(value))
    console = Console(highlight=False, markup=False)
    # rich assumes 80 columns in a pipe, which would fold long paths, and folds a table's title to the table's width.
    console.width = console.width if console.is_terminal else 10_000
    console.print(printable(title), style="italic", soft_wrap=True)
    console.print(table)


def print_columns(header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print a table with a header; columns of numbers are aligned to the right, and lines never folded."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="italic")
    for number, name in enumerate(header):
        cells = [line[number] for line in lines]
        is_text = any(cell and not cell[0].isdigit() and cell[0] not in "-+" for cell in cells)
        table.add_column(printable(name), justify="left" if is_text else "right", no_wrap=True)
    for line in lines:
        table.add_row(*map(printable, line))
    console = Console(highlight=False, markup=False)
    console.width = console.width if console.is_terminal else 10_000
    console.print(table)


def print_plan(plan: Plan, initial: str, results: str) -> None:
    """Print the plan of `nephi register --dry-run`; `initial` and `results` are shown unchanged."""
    settings, objective = plan.settings, plan.settings.objective
    rows = []
    for name, side in (("fixed", plan.fixed), ("moving", plan.moving)):
        region = "no mask" if side.mask_voxels is None else f"{side.mask_voxels} voxels in the mask"
        rows.append((name, side.name))
        rows.append(("", f"{by(side.grid.shape)} voxels of {by(side.grid.spacing.tolist())} mm, {region}"))
        rows.append(("", f"intensities {side.window[0]:g} to {side.window[1]:g}"))
    for number, channel in enumerate(plan.guidance.channels, start=2):
        for name, side in (("fixed", channel.fixed), ("moving", channel.moving)):
            intensities = f"intensities {side.window[0]:g} to {side.window[1]:g}"
            rows.append((f"{name}, channel {number}", f"{side.name}, {by(side.grid.shape)} voxels, {intensities}"))
    kind = settings.affine.kind
    rows.append(("initial alignment", initial))
    if kind != "none":
        widths = ", ".join(f"{sigma:.3g}" for sigma in settings.affine.smoothing)
        rows.append((kind, f"{settings.affine.steps} steps per stage, smoothed by {widths} mm"))
    if plan.detail_length:
        unit = f"lengths of the fit are multiples of {plan.detail_unit:.3g} mm"
        rows.append(("detail length", f"{plan.detail_length:.3g} mm, {unit}"))
    if plan.parameters:
        lattices = f", latent grids {', '.join(map(by, plan.lattices))}" if plan.lattices else ""
        rows.append(("fields" if plan.lattices else "transform", f"{plan.parameters} parameters{lattices}"))
    if plan.levels:
        similarities = ", then ".join(
            [objective.similarity, *(channel.similarity for channel in plan.guidance.channels)]
        )
        rows.append(("similarity", f"{similarities}, {objective.points} points per step and direction"))
    guidance = settings.guidance
    for name, count, weight in (
        ("landmarks", plan.guidance.landmarks, guidance.landmarks),
        ("labels", plan.guidance.labels, guidance.labels),
    ):
        if count:
            rows.append((f"guided by {name}", f"{count}, weight {weight:.3g}"))
    for number, level in enumerate(plan.levels, start=1):
        steps, smoothing = level.settings.steps, level.settings.smoothing
        images = f"images of {by(level.fixed_shape)} and {by(level.moving_shape)} voxels"
        filtered = f"smoothed by {smoothing:.3g} mm" if smoothing else "not smoothed"
        rows.append((f"level {number}", f"{steps} steps, {images}, {filtered}"))
    rows.append(("device", plan.device))
    rows.append(("threads", str(plan.threads)))
    if plan.memory_mb is not None:
        rows.append(("memory, estimated", f"{plan.memory_mb:.0f} MB"))
    rows.append(("results", results))
    print_rows("Plan (nothing is computed or written)", rows)


def print_registration(report: Mapping[str, Any], folder: Path, implausible: bool) -> None:
    """Print the measures of a registration and the folder of its results."""
    usage, rows = report["usage"], quality_rows(report["quality"])
    for region, key in (("inside the mask", "inside_mask"), ("whole grid", "whole_grid")):
        if (regularity := report.get(key)) is not None:
            folding, smallest = regularity["folding_percent"], regularity["smallest"]
            values = f"{folding:.4f} % of the voxel centres, smallest det J {smallest:.3f}"
            rows.append((f"det J <= 0, {region}", values))
            rows.append((f"SD log det J, {region}", f"{regularity['sd_log_jacobian']:.3f}"))
    if (error := report.get("inverse_consistency_mm")) is not None:
        rows.append(("inverse consistency", f"{error:.4f} mm"))
    if (error := report.get("unrefined_inverse_mm")) is not None:
        rows.append(("inverse consistency, unrefined inverse", f"{error:.3f} mm"))
    for name, error in (report.get("asymmetry_mm") or {}).items():
        rows.append((f"asymmetry of {name}", f"{error:.3g} mm"))
    if tre := report.get("tre_mm"):
        rows.append(("TRE, mean", f"{tre['mean']:.3f} mm ({tre['before']:.3f} before)"))
    rows += _guidance_rows(report.get("guidance", {}))
    stages = "prediction and refinement" if "model" in report else "affine and fit"
    rows.append((stages, f"{usage['affine_and_fit_cpu_s']:.1f} CPU s"))
    rows.append(("whole process", f"{usage['process_cpu_s']:.1f} CPU s"))
    if usage["peak_memory_mb"] is not None:
        rows.append(("peak memory", f"{usage['peak_memory_mb']:.0f} MB"))
    rows.append(("results", str(folder)))
    print_rows(_title(report["quality"]["verdict"], implausible), rows)


def _title(verdict: str, implausible: bool) -> str:
    if verdict == "failed":
        return "Failed: the images do not match, see the reasons below"
    if implausible:
        return "Registered, but implausible: see the warnings above"
    return "Registered" if verdict == "ok" else "Registered, to be checked: see the reasons below"


def quality_rows(quality: Mapping[str, Any]) -> Rows:
    """Return rows of the verdict, its reasons, and the main measures before and after."""
    rows = [("quality", quality["verdict"]), *(("", reason) for reason in quality["reasons"])]
    before, after = quality["before"], quality["after"]
    if after["matched"] is not None:
        earlier = "" if before["matched"] is None else f" ({100 * before['matched']:.0f} % before)"
        rows.append(("structures matched", f"{100 * after['matched']:.0f} %{earlier}"))
    if after["dice"] is not None:
        earlier = "" if before["dice"] is None else f" ({before['dice']:.3f} before)"
        rows.append((f"Dice of the {REGIONS[quality['region']]}", f"{after['dice']:.3f}{earlier}"))
    lengths, local = quality["displacement"], quality["local_displacement"]
    whole = f"mean {lengths['mean']:.2f} mm, largest {lengths['maximum']:.2f} mm"
    rows.append(("displacement", f"{whole}; without its affine part {local['mean']:.2f} and {local['maximum']:.2f} mm"))
    return rows


def _guidance_rows(guidance: Mapping[str, Any]) -> Rows:
    """Return rows of the landmarks and labels that guided a registration, which do not measure its accuracy."""
    rows = []
    if landmarks := guidance.get("landmarks"):
        unmatched = len(landmarks["unmatched"])
        lengths = f"{landmarks['median']:.3f} mm ({landmarks['before']:.3f} before on average)"
        rows.append(("guiding landmarks, median", f"{lengths}, {unmatched} of {landmarks['count']} unmatched"))
    if labels := guidance.get("labels"):
        rows.append(("guiding labels, mean Dice", f"{labels['mean']:.3f} ({labels['before']:.3f} before)"))
    return rows


def print_stages(report: Mapping[str, Any]) -> None:
    """Print wall and CPU seconds of each stage."""
    stages = report["usage"]["stages"]
    rows = [(name, f"{s['wall_s']:7.2f} s wall {s['cpu_s']:7.2f} s CPU") for name, s in stages.items()]
    print_rows("Stages", rows)


def by(numbers: Iterable[float]) -> str:
    """Return numbers as `64 x 64 x 32`."""
    return " x ".join(f"{number:.4g}" if isinstance(number, float) else str(number) for number in numbers)
