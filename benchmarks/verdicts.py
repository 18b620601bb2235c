"""Compare the numbers of one pair with the targets and with other tools."""

from __future__ import annotations

import random
from typing import Any

from methods import FIELD_ALONE
from pairs import MULTIMODAL, SMALL

Row = dict[str, Any]
RESAMPLES = 2000
COMPARABLE = 1.1  # times of other tools are compared if their error is at most this multiple of that of nephi
LIMIT_GAP_MM = 0.02  # from the most accurate other tool
LIMIT_TIME_RATIO = 0.25  # of the CPU time of another tool
LIMIT_DICE, LIMIT_DICE_GAP = 0.67, 0.02  # same contrast; difference between the two contrasts
LIMIT_FAST, LIMIT_FAST_S = 1.15, 6.0  # times the error of the most accurate other tool; affine + fit
LIMIT_ABOVE_MB = 150.0  # the imports, for small and 2-D pairs


def error(row: Row) -> float | None:
    """Return the error: mean TRE in mm, or one minus the mean Dice."""
    if "tre_mean_mm" in row:
        return float(row["tre_mean_mm"])
    return 1 - row["dice_mean"] if "dice_mean" in row else None


def verdicts(pair: str, rows: list[Row], floors: list[Row]) -> list[str]:
    """Compare the row of nephi with the other tools and the targets for one pair; `rows` are those of all pairs.

    Rows with an error (stopped, failed) are ignored; from rows of another machine only the accuracy is used.
    """
    valid_rows = {
        row["method"]: row for row in rows if row["pair"] == pair and "error" not in row and error(row) is not None
    }
    nephi_row = valid_rows.get("nephi")
    peers = [row for name, row in valid_rows.items() if not name.startswith("nephi")]
    if nephi_row is None or not peers:
        return []
    best = min(peers, key=_error)
    lines = [
        _accuracy(nephi_row, best),
        f"- {met(not nephi_row['folding_percent'])}: no folds ({nephi_row['folding_percent']:.4f} %)",
    ]
    if pair == MULTIMODAL:
        comparable = [row for row in rows if (row["pair"], row["method"]) == ("brain_mri", "nephi")]
        lines += [_beside_one_contrast(nephi_row, row) for row in comparable if "dice_mean" in row]
    lines.append(_time(pair, nephi_row, valid_rows, peers))
    if pair == "lung_ct" and "nephi fast" in valid_rows:
        lines.append(_fast(valid_rows["nephi fast"], best))
    return [*lines, _memory(pair, nephi_row, peers, floors)]


def met(holds: bool) -> str:
    """Return `met` or `missed`."""
    return "met" if holds else "**missed**"


def _error(row: Row) -> float:
    return error(row) or 0.0


def _accuracy(nephi_row: Row, best: Row) -> str:
    gap = _error(nephi_row) - _error(best)
    if "tre_mean_mm" not in nephi_row:
        is_met = gap <= 0 and (nephi_row["pair"] == MULTIMODAL or nephi_row["dice_mean"] >= LIMIT_DICE)
        return (
            f"- {met(is_met)}: Dice {nephi_row['dice_mean']:.3f}; {best['method']}, the most accurate other tool, "
            f"{best['dice_mean']:.3f}"
        )
    bounds = interval(nephi_row, best)
    interval_text = f" (95 % by bootstrap over landmarks: {bounds[0]:+.3f} to {bounds[1]:+.3f})" if bounds else ""
    is_met = gap <= LIMIT_GAP_MM or (bounds is not None and bounds[0] <= 0)
    return f"- {met(is_met)}: error {gap:+.3f} mm against {best['method']}, the most accurate other tool{interval_text}"


def _beside_one_contrast(nephi_row: Row, other: Row) -> str:
    gap = other["dice_mean"] - nephi_row["dice_mean"]
    return f"- {met(gap <= LIMIT_DICE_GAP)}: Dice {gap:.3f} below that of the same contrast"


def _time(pair: str, nephi_row: Row, valid_rows: dict[str, Row], peers: list[Row]) -> str:
    comparable = [row for row in peers if _error(row) <= COMPARABLE * _error(nephi_row)]
    same_machine = [row for row in comparable if row.get("machine") == nephi_row.get("machine")]
    greedy = valid_rows.get("greedy")
    if pair == "lung_ct" and greedy is not None and greedy.get("machine") == nephi_row.get("machine"):
        peer = greedy
        words = f"greedy, at an error {_error(nephi_row) - _error(peer):+.3f} mm relative to greedy"
    elif same_machine:
        peer = min(same_machine, key=lambda row: row["cpu_s"])
        words = f"{peer['method']}, the fastest other tool with at most {COMPARABLE:g} times its error"
    elif comparable:
        names = ", ".join(row["method"] for row in comparable)
        return f"- not known: {names} has at most {COMPARABLE:g} times the error of nephi, measured on another machine"
    else:
        return f"- met: no other tool has an error of at most {COMPARABLE:g} times that of nephi"
    time_ratio = nephi_row["cpu_s"] / peer["cpu_s"]
    is_met = time_ratio <= LIMIT_TIME_RATIO and (pair != "lung_ct" or _error(nephi_row) <= _error(peer))
    line = f"- {met(is_met)}: {time_ratio:.2f} of the CPU time of {words}"
    if alone := valid_rows.get(f"nephi {FIELD_ALONE}"):
        line += f"; {alone['cpu_s'] / peer['cpu_s']:.2f} where nephi writes the displacement field only"
    return line


def _fast(fast: Row, best: Row) -> str:
    times, seconds = _error(fast) / _error(best), fast["fit_cpu_s"]
    is_met = times <= LIMIT_FAST and seconds <= LIMIT_FAST_S
    return (
        f"- {met(is_met)}: fast has {times:.2f} times the error of the most accurate other tool "
        f"after {seconds:.1f} CPU s of affine and fit"
    )


def _memory(pair: str, nephi_row: Row, peers: list[Row], floors: list[Row]) -> str:
    small = min(peers, key=lambda row: row["peak_mb"])
    line = f"memory: {nephi_row['peak_mb'] / small['peak_mb']:.2f} of {small['method']}, the smallest other tool"
    if pair not in SMALL:
        return f"- {met(nephi_row['peak_mb'] < small['peak_mb'])}: {line}"
    above = nephi_row["peak_mb"] - next(row["peak_mb"] for row in floors if row["method"] == "nephi")
    return f"- {met(above <= LIMIT_ABOVE_MB)}: {line}; a small pair: {above:.0f} MB above the imports"


def interval(one: Row, other: Row) -> tuple[float, float] | None:
    """Return the paired bootstrap interval (95 %) of the difference of two mean TREs, mm."""
    if not one.get("errors_mm") or len(one["errors_mm"]) != len(other.get("errors_mm", ())):
        return None
    differences = [a - b for a, b in zip(one["errors_mm"], other["errors_mm"], strict=True)]
    draw = random.Random(0)
    means = sorted(sum(draw.choices(differences, k=len(differences))) / len(differences) for _ in range(RESAMPLES))
    return means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES) - 1]
