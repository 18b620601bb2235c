"""What the numbers of one pair say about nephi and its peers."""

from __future__ import annotations

import random
from typing import Any

from methods import FIELD_ALONE

RESAMPLES = 2000
COMPARABLE = 1.1  # a peer's time counts when its error is at most this many times nephi's


def error(row: dict[str, Any]) -> float | None:
    """Return what is to be small: mean TRE in mm, or one minus the mean Dice."""
    if "tre_mean_mm" in row:
        return row["tre_mean_mm"]
    return 1 - row["dice_mean"] if "dice_mean" in row else None


def verdicts(rows: list[dict[str, Any]]) -> list[str]:
    """Compare nephi's own preset with the best, the fastest comparable and the smallest peer."""
    own = next((row for row in rows if row["method"] == "nephi" and error(row) is not None), None)
    peers = [row for row in rows if not row["method"].startswith("nephi") and error(row) is not None]
    if own is None or not peers:
        return []
    best = min(peers, key=lambda row: error(row) or 0.0)
    gap = (error(own) or 0.0) - (error(best) or 0.0)
    unit = " mm" if "tre_mean_mm" in own else " (1 - Dice)"
    lines = [f"- error: nephi {gap:+.3f}{unit} against {best['method']}, the best peer{interval(own, best)}"]
    alike = [row for row in peers if (error(row) or 0.0) <= COMPARABLE * (error(own) or 0.0)]
    if alike:
        fast = min(alike, key=lambda row: row["cpu_s"])
        share = own["cpu_s"] / fast["cpu_s"]
        lines.append(f"- time: nephi {share:.2f} of {fast['method']}, the fastest peer of at most 1.1 times its error")
        alone = next((row for row in rows if row["method"] == f"nephi {FIELD_ALONE}" and error(row) is not None), None)
        if alone:
            share = alone["cpu_s"] / fast["cpu_s"]
            lines[-1] += f"; {share:.2f} where it writes one displacement field and nothing else"
    else:
        lines.append("- time: no peer has at most 1.1 times nephi's error")
    small = min(peers, key=lambda row: row["peak_mb"])
    lines.append(f"- memory: nephi {own['peak_mb'] / small['peak_mb']:.2f} of {small['method']}, the smallest peer")
    return lines


def interval(one: dict[str, Any], other: dict[str, Any]) -> str:
    """Return the paired bootstrap interval (95 %) of the difference of two mean TREs, in words."""
    if not one.get("errors_mm") or len(one["errors_mm"]) != len(other.get("errors_mm", ())):
        return ""
    differences = [a - b for a, b in zip(one["errors_mm"], other["errors_mm"], strict=True)]
    draw = random.Random(0)
    means = sorted(sum(draw.choices(differences, k=len(differences))) / len(differences) for _ in range(RESAMPLES))
    low, high = means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES) - 1]
    return f" (95 % by bootstrap over landmarks: {low:+.3f} to {high:+.3f})"
