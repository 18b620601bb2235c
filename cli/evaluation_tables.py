"""The tables of `nephi evaluate`: the measures, the mean of each first, and one line for each label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .printing import Rows, echo_line, print_columns, print_rows

MISSING = "-"  # a label without a surface, or without a name


def print_evaluation(measures: Mapping[str, Any], verbose: bool) -> None:
    """Print the measures of `nephi evaluate`, each landmark's error as well if `verbose`."""
    rows: Rows = []
    if tre := measures.get("tre_mm"):
        rows += tre_rows(tre, verbose)
    if dice := measures.get("dice"):
        count = len(dice["labels"])
        labels = f"{count} label{'s' * (count != 1)}"
        rows.append(("Dice, mean", f"{dice['mean']:.4f} ({dice['before']:.4f} before), {labels}"))
    if surface := measures.get("surface_mm"):
        before = surface["before"]
        rows += [
            (f"surface distance, {title}", f"{_length(surface[key])} mm ({_length(before[key])} mm before)")
            for title, key in (("mean", "mean"), ("95 %", "p95"))
        ]
    if regularity := measures.get("regularity"):
        rows.append(("det J <= 0", f"{regularity['folding_percent']:.4f} % of {regularity['points']} voxels"))
        rows.append(("smallest det J", f"{regularity['smallest']:.4f}"))
        rows.append(("SD log det J", f"{regularity['sd_log_jacobian']:.4f}"))
    for name, key in (
        ("inverse consistency", "inverse_consistency_mm"),
        ("inverse consistency, unrefined inverse", "unrefined_inverse_mm"),
        ("inverse consistency, exported fields", "exported_inverse_consistency_mm"),
    ):
        if (error := measures.get(key)) is not None:
            rows.append((name, f"{error:.4f} mm"))
    print_rows("Evaluation", rows)
    if dice:
        _print_labels(measures)


def tre_rows(tre: Mapping[str, Any], verbose: bool) -> Rows:
    """Return rows of target registration errors, the mean first; of each landmark as well if `verbose`."""
    rows = [("TRE, mean", f"{tre['mean']:.4f} mm ({tre['before']:.4f} mm before)")]
    rows += [(f"TRE, {title}", f"{tre[key]:.4f} mm") for title, key in (("median", "median"), ("90 %", "p90"))]
    rows += [("TRE, maximum", f"{tre['max']:.4f} mm"), ("landmarks", f"{tre['count']}")]
    if verbose:
        rows += [(f"TRE of landmark {i}", f"{error:.4f} mm") for i, error in enumerate(tre["each"])]
    return rows


def _print_labels(measures: Mapping[str, Any]) -> None:
    """Print one line for each label: name, Dice and surface distances before and after."""
    dice, surface, names = measures["dice"], measures["surface_mm"], measures.get("label_names", {})
    header = ["label", *(["name"] if names else []), "Dice before", "after"]
    header += ["mean surface distance before, mm", "after", "95 % before, mm", "after"]
    lines = []
    for label, overlap in dice["labels"].items():
        line = [label, *([names.get(label, MISSING)] if names else [])]
        line += [f"{dice['labels_before'][label]:.4f}", f"{overlap:.4f}"]
        for key in ("mean", "p95"):
            line += [_length((table["labels"][label] or {}).get(key)) for table in (surface["before"], surface)]
        lines.append(line)
    echo_line("")
    print_columns(header, lines)


def _length(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3f}"
