"""What the commands print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nephi.errors import printable


def print_rows(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print two columns under a title, without cutting anything in a pipe."""
    from rich.console import Console  # here: commands that print nothing need not wait for it
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(printable(name), printable(value))
    console = Console(highlight=False, markup=False)
    # In a pipe rich assumes 80 columns and would fold long paths; the table would fold its title to its own width.
    console.width = console.width if console.is_terminal else 10_000
    console.print(printable(title), style="italic", soft_wrap=True)
    console.print(table)


def registration_table(report: Mapping[str, Any], folder: Path, doubts: Sequence[str]) -> None:
    """Print the measures of a registration and its folder; `doubts` are warnings that it may not be right."""
    usage = report["usage"]
    rows = []
    for name, key in (("inside the mask", "inside_mask"), ("whole grid", "whole_grid")):
        if (found := report.get(key)) is not None:
            rows.append((f"J <= 0, {name}", f"{found['folding_percent']:.4f} %   smallest J {found['smallest']:.3f}"))
            rows.append((f"SD log J, {name}", f"{found['sd_log_jacobian']:.3f}"))
    if (error := report.get("inverse_consistency_mm")) is not None:
        rows.append(("inverse consistency", f"{error:.4f} mm"))
    if (error := report.get("trained_inverse_mm")) is not None:
        rows.append(("the same, before polishing", f"{error:.3f} mm"))
    if tre := report.get("tre_mm"):
        rows.append(("landmark error, mean", f"{tre['mean']:.3f} mm ({tre['before']:.3f} before)"))
    done = "prediction and refinement" if "model" in report else "affine and fit"
    rows.append((done, f"{usage['affine_and_fit_cpu_s']:.1f} CPU s"))
    rows.append(("whole process", f"{usage['process_cpu_s']:.1f} CPU s"))
    if usage["peak_memory_mb"] is not None:
        rows.append(("peak memory", f"{usage['peak_memory_mb']:.0f} MB"))
    rows.append(("results", str(folder)))
    title = "Registered" if not doubts else "Finished with warnings: images or result are not plausible, see above"
    print_rows(title, rows)


def stage_table(report: Mapping[str, Any]) -> None:
    """Print wall and CPU seconds of each stage."""
    stages = report["usage"]["stages"]
    rows = [(name, f"{s['wall_s']:7.2f} s wall {s['cpu_s']:7.2f} s CPU") for name, s in stages.items()]
    print_rows("Stages", rows)


def evaluation_table(measures: Mapping[str, Any], verbose: bool) -> None:
    """Print the measures of `nephi evaluate`, landmark by landmark where `verbose`."""
    rows: list[tuple[str, str]] = []
    if tre := measures.get("tre_mm"):
        rows.append(("landmarks", f"{tre['count']}"))
        rows.append(("TRE before, mean", f"{tre['before']:.4f} mm"))
        rows += [(f"TRE {name}", f"{tre[name]:.4f} mm") for name in ("mean", "median", "p90", "max")]
        if verbose:
            rows += [(f"TRE of landmark {i}", f"{error:.4f} mm") for i, error in enumerate(tre["each"])]
    if dice := measures.get("dice"):
        rows += [(f"Dice label {label}", f"{value:.4f}") for label, value in dice["labels"].items()]
        rows.append(("Dice before, mean", f"{dice['before']:.4f}"))
        rows.append(("Dice mean", f"{dice['mean']:.4f}"))
    if found := measures.get("regularity"):
        rows.append(("J <= 0", f"{found['folding_percent']:.4f} % of {found['points']} voxels"))
        rows.append(("smallest J", f"{found['smallest']:.4f}"))
        rows.append(("SD log J", f"{found['sd_log_jacobian']:.4f}"))
    for name, key in (
        ("inverse consistency", "inverse_consistency_mm"),
        ("the same, inverse as trained", "trained_inverse_mm"),
        ("the same, exported pair", "exported_inverse_consistency_mm"),
    ):
        if (error := measures.get(key)) is not None:
            rows.append((name, f"{error:.4f} mm"))
    print_rows("Evaluation", rows)
