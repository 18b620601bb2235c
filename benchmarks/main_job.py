"""Measure accuracy, regularity, time and memory of `nephi register` on the real pairs, from files to files.

    python benchmarks/main_job.py DATA [--score SCORE.py] [--prototype PROTOTYPE.py] [-o FOLDER]

DATA contains `lung_ct/` and `brain_mri/`. Every row is a separate process. `--score` names an independent scorer of
displacement fields, with whose numbers those of nephi are compared. `--prototype` names a script that is timed in the
same run, to compare times between machines. Writes `main_job.md` and `main_job.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import machine
from process import measure_command


@dataclass(frozen=True)
class Row:
    """One registration to measure: its name, the options of `nephi register`, those of `nephi evaluate`, and limits."""

    name: str
    register: list[str]
    evaluate: list[str]
    limits: dict[str, tuple[str, float]]


LUNG_LIMITS = {
    "tre_mean_mm": ("<=", 1.15),
    "folding_mask_percent": ("<=", 0.0),
    "folding_grid_percent": ("<=", 0.1),
    "unrefined_inverse_mm": ("<=", 0.3),
    "fit_cpu_s": ("<=", 20.0),
    "process_cpu_s": ("<=", 25.0),
    "peak_mb": ("<", 700.0),
    "score_gap": ("<=", 0.05),
}
COLUMNS = {
    "tre_mean_mm": "TRE mean",
    "tre_median_mm": "median",
    "tre_p90_mm": "p90",
    "dice_mean": "Dice",
    "folding_mask_percent": "J<=0 mask %",
    "folding_grid_percent": "J<=0 grid %",
    "sd_log_jacobian": "SD log J",
    "unrefined_inverse_mm": "unrefined inverse mm",
    "inverse_consistency_mm": "inverse mm",
    "exported_inverse_consistency_mm": "exported pair mm",
    "fit_cpu_s": "affine+fit CPU s",
    "process_cpu_s": "process CPU s",
    "process_wall_s": "wall s",
    "peak_mb": "peak MB",
    "transform_kb": ".nephi kB",
    "score_gap": "difference from scorer",
}


def rows(data: Path) -> list[Row]:
    """Return the registrations to measure."""
    lung, brain = data / "lung_ct", data / "brain_mri"
    pair = ["-f", f"{lung}/fixed.mha", "-m", f"{lung}/moving.mha", "--preset", "lung-ct"]
    masks = ["--fixed-mask", f"{lung}/fixed_mask.mha", "--moving-mask", f"{lung}/moving_mask.mha"]
    evaluation = ["--landmarks", f"{lung}/landmarks.csv", "--mask", f"{lung}/fixed_mask.mha"]
    result = [Row("lung_ct, masks, seed 0", [*pair, *masks, "--seed", "0"], evaluation, LUNG_LIMITS)]
    for seed in range(1, 5):
        limits = {"tre_mean_mm": ("<=", 1.25)}
        result.append(Row(f"lung_ct, masks, seed {seed}", [*pair, *masks, "--seed", str(seed)], evaluation, limits))
    result.append(Row("lung_ct, no masks, seed 0", [*pair, "--seed", "0"], evaluation, {"tre_mean_mm": ("<=", 1.3)}))
    heads = ["-f", f"{brain}/fixed.nii.gz", "-m", f"{brain}/moving.nii.gz", "--preset", "brain-mri"]
    labels = ["--fixed-labels", f"{brain}/fixed_labels.nii.gz", "--moving-labels", f"{brain}/moving_labels.nii.gz"]
    inside = ["--mask", f"{brain}/fixed_labels.nii.gz"]
    limits = {"dice_mean": (">=", 0.64), "folding_mask_percent": ("<=", 0.01), "transform_kb": ("<=", 4000.0)}
    result.append(Row("brain_mri, seed 0", [*heads, "--seed", "0"], [*labels, *inside], limits))
    return result


def run(row: Row, folder: Path, score: Path | None) -> dict[str, Any]:
    """Register and evaluate one row; return its numbers."""
    nephi = [sys.executable, "-m", "nephi.cli"]
    out = folder / "result"
    cost = measure_command([*nephi, "register", *row.register, "-o", out, "--overwrite", "-q"], folder / "log")
    if cost.code:
        return {"name": row.name, "error": cost.output.strip()}
    evaluation = measure_command(
        [*nephi, "evaluate", "-t", out / "transform.nephi", *row.evaluate, "--json", folder / "e.json"], folder / "log"
    )
    if evaluation.code:
        return {"name": row.name, "error": evaluation.output.strip()}
    measures = json.loads((folder / "e.json").read_text(encoding="utf-8"))
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    tre = measures.get("tre_mm", {})
    return {
        "name": row.name,
        **{f"tre_{key}_mm": tre[key] for key in ("mean", "median", "p90", "max") if tre},
        **(
            {"dice_mean": measures["dice"]["mean"], "dice_before": measures["dice"]["before"]}
            if "dice" in measures
            else {}
        ),
        "folding_mask_percent": measures["regularity"]["folding_percent"],
        "folding_grid_percent": report["whole_grid"]["folding_percent"],
        "sd_log_jacobian": measures["regularity"]["sd_log_jacobian"],
        "unrefined_inverse_mm": measures["unrefined_inverse_mm"],
        "inverse_consistency_mm": measures["inverse_consistency_mm"],
        "exported_inverse_consistency_mm": measures["exported_inverse_consistency_mm"],
        "fit_cpu_s": report["usage"]["affine_and_fit_cpu_s"],
        "process_cpu_s": cost.cpu_s,
        "process_wall_s": cost.wall_s,
        "peak_mb": cost.peak_mb,
        "transform_kb": (out / "transform.nephi").stat().st_size / 1e3,
        **(score_field(score, out / "warp.nii.gz", row.evaluate, measures, folder) if score else {}),
    }


def score_field(
    score: Path, warp: Path, evaluation: list[str], measures: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """Score the exported field independently; return the scores and the difference from those of nephi."""
    cost = measure_command([sys.executable, score, warp, *evaluation, "--json"], folder / "log")
    if cost.code:
        return {"score_error": cost.output.strip()}
    other = json.loads(cost.output)
    if "tre_mean_mm" in other:
        gap = abs(other["tre_mean_mm"] - measures["tre_mm"]["mean"])
    else:
        gap = abs(other["dice_mean"] - measures["dice"]["mean"])
    return {"score": other, "score_gap": gap}


def verdicts(row: Row, numbers: dict[str, Any]) -> list[str]:
    """Return a line for every target of the row: met or missed."""
    lines = []
    for key, (relation, limit) in row.limits.items():
        if key not in numbers:
            continue
        value = numbers[key]
        is_met = {"<=": value <= limit, "<": value < limit, ">=": value >= limit}[relation]
        lines.append(
            f"- {'met' if is_met else '**missed**'}: {row.name}: {COLUMNS[key]} {value:.4g} {relation} {limit:g}"
        )
    return lines


def markdown(results: list[dict[str, Any]], lines: list[str], about: dict[str, Any]) -> str:
    """Return the page: machine, table, targets."""
    head = ["| run |", "|---|"]
    for title in COLUMNS.values():
        head[0] += f" {title} |"
        head[1] += "---|"
    body = []
    for numbers in results:
        cells = [f"{numbers[key]:.4g}" if key in numbers else "" for key in COLUMNS]
        body.append(f"| {numbers['name']} | " + (numbers.get("error") or " | ".join(cells)) + " |")
    facts = [f"- {name}: {value}" for name, value in about.items()]
    return "\n".join(
        ["# Registration from files to files", "", *facts, "", *head, *body, "", "## Targets", "", *lines, ""]
    )


def main() -> None:
    """Measure all rows and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--score", type=Path)
    parser.add_argument("--prototype", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    about, results, lines = machine(), [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for row in rows(args.data):
            numbers = run(row, folder, args.score)
            results.append(numbers)
            lines += verdicts(row, numbers)
            print(json.dumps({k: v for k, v in numbers.items() if k != "score"}), flush=True)
        if args.prototype:
            cost = measure_command([sys.executable, args.prototype, args.data / "lung_ct"], folder / "log")
            about["prototype, whole process"] = f"{cost.cpu_s:.1f} CPU s, {cost.peak_mb:.0f} MB in the same run"
            if "process_cpu_s" in results[0]:
                about["nephi / prototype, whole process"] = f"{results[0]['process_cpu_s'] / cost.cpu_s:.2f} (CPU time)"
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "main_job.json").write_text(json.dumps({"about": about, "rows": results}, indent=1) + "\n")
    page = markdown(results, lines, about)
    (args.output / "main_job.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
