"""The main measures of an evaluation as rows of text, for `repr` and notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

LABELS = 12  # rows of labels in a notebook


def measure_rows(measures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return name and value of the measures of `Evaluation.table`."""
    rows = []
    if tre := measures.get("tre_mm"):
        rows.append(("TRE, mean", f"{tre['mean']:.3f} mm ({tre['before']:.3f} before, {tre['count']} landmarks)"))
    if dice := measures.get("dice"):
        rows.append(("Dice, mean", f"{_number(dice['mean'], 4)} ({_number(dice['before'], 4)} before)"))
    if surface := measures.get("surface_mm"):
        rows.append(("surface distance, mean", f"{_number(surface['mean'], 3)} mm"))
    if regularity := measures.get("regularity"):
        rows.append(("det J <= 0", f"{regularity['folding_percent']:.4f} % of {regularity['points']} points"))
        rows.append(("smallest det J", f"{regularity['smallest']:.3f}"))
        rows.append(("SD log det J", f"{regularity['sd_log_jacobian']:.3f}"))
    if (error := measures.get("inverse_consistency_mm")) is not None:
        rows.append(("inverse consistency", f"{error:.4f} mm"))
    return rows


def measures_html(measures: Mapping[str, Any]) -> str:
    """Return a table of the measures, and one of the Dice of each label, at most `LABELS` of them."""
    rows = measure_rows(measures)
    if dice := measures.get("dice"):
        names, before = measures.get("label_names", {}), dice.get("labels_before", {})
        for label, value in list(dice["labels"].items())[:LABELS]:
            name = f"label {label}" + (f", {names[label]}" if label in names else "")
            rows.append((f"Dice, {name}", f"{_number(value, 4)} ({_number(before.get(label), 4)} before)"))
        if len(dice["labels"]) > LABELS:
            rows.append(("", f"and {len(dice['labels']) - LABELS} further labels"))
    table = "".join(f'<tr><th scope="row">{escape(n)}</th><td>{escape(v)}</td></tr>' for n, v in rows)
    return f'<table style="font: 14px/1.5 system-ui, sans-serif">{table}</table>'


def _number(value: float | None, digits: int) -> str:
    return "none" if value is None else f"{value:.{digits}f}"
