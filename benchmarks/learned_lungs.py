"""Train on lung phantoms; register unseen phantoms and a real pair: predicted, refined, and fitted from scratch.

    python benchmarks/learned_lungs.py [DATA] [--score SCORE.py] [-o FOLDER] [--devices 2]

DATA contains `lung_ct/`, which is not used in training. The model is trained with `nephi train
benchmarks/training/lungs.toml --device cpu --devices 2` in `benchmarks/work/learned/`; a complete run is not repeated,
an interrupted one continues. Every registration is a separate process. Writes `learned_lungs.md` and
`learned_lungs.json`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import machine
from main_job import score_field
from process import measure_command

HERE = Path(__file__).parent
WORK = HERE / "work" / "learned"
LUNGS = WORK / "varied_lungs"
RUN = WORK / "runs" / "varied_lungs"
REFINE = (80, 150)  # steps
PHANTOMS = 8  # in the split `test`
COLUMNS = {
    "tre_before_mm": "TRE before, mm",
    "tre_mean_mm": "TRE mean",
    "tre_p90_mm": "p90",
    "folding_percent": "J <= 0 in the mask, %",
    "core_cpu_s": "prediction, affine, fit: CPU s",
    "process_cpu_s": "process CPU s",
    "peak_mb": "peak MB",
}


@dataclass(frozen=True)
class Pair:
    """Files of a pair."""

    name: str
    fixed: Path
    moving: Path
    fixed_mask: Path
    moving_mask: Path
    landmarks: Path

    @property
    def scorer_options(self) -> list[str]:
        """Options of `nephi evaluate`."""
        return ["--landmarks", f"{self.landmarks}", "--mask", f"{self.fixed_mask}"]


def train(devices: int) -> None:
    """Write the data set and train with `devices` processes, unless this is already done."""
    if not (LUNGS / "dataset.json").is_file():
        subprocess.run([sys.executable, HERE / "lung_set.py", LUNGS], check=True)
    resume = ["--resume"] if RUN.exists() else []
    config = HERE / "training" / "lungs.toml"
    command = [sys.executable, "-m", "nephi.cli", "train", config, "-o", RUN, "-q", *resume]
    command += ["--device", "cpu", "--devices", devices]
    subprocess.run([str(part) for part in command], check=True)


def pairs(data: Path | None) -> list[Pair]:
    """Return the pairs to register: phantoms, then the real pair."""
    index = json.loads((LUNGS / "dataset.json").read_text(encoding="utf-8"))
    images = {image["id"]: image for image in index["images"]}
    entries = index["splits"]["test"]["pairs"][: 2 * PHANTOMS : 2]
    result = []
    for pair in entries:
        files = [images[pair[side]][kind] for kind in ("image", "mask") for side in ("fixed", "moving")]
        result.append(Pair(pair["fixed"].split("-")[0], *(LUNGS / f for f in [*files, pair["landmarks"]])))
    if data is not None:
        names = ("fixed.mha", "moving.mha", "fixed_mask.mha", "moving_mask.mha", "landmarks.csv")
        result.append(Pair("lung_ct", *(data / "lung_ct" / name for name in names)))
    return result


def methods() -> dict[str, list[str]]:
    """Return the options of `nephi register` for each row."""
    model = ["--preset", "lung-ct", "--model", f"{RUN / 'last.safetensors'}"]
    refined = {f"refined, {steps} steps": [*model, "--refine", f"{steps}"] for steps in REFINE}
    return {"predicted": model, **refined, "from scratch": ["--preset", "lung-ct"]}


def run(pair: Pair, options: list[str], folder: Path, score: Path | None) -> dict[str, Any]:
    """Register and evaluate a pair; return its numbers."""
    nephi, out = [sys.executable, "-m", "nephi.cli"], folder / "result"
    images = ["-f", pair.fixed, "-m", pair.moving, "--fixed-mask", pair.fixed_mask, "--moving-mask", pair.moving_mask]
    cost = measure_command([*nephi, "register", *images, *options, "-o", out, "--overwrite", "-q"], folder / "log")
    if cost.code:
        raise SystemExit(cost.output)
    evaluate = [*nephi, "evaluate", "-t", out / "transform.nephi", *pair.scorer_options, "--json", folder / "e.json"]
    evaluation = measure_command(evaluate, folder / "log")
    if evaluation.code:
        raise SystemExit(evaluation.output)
    measures = json.loads((folder / "e.json").read_text(encoding="utf-8"))
    stages = json.loads((out / "report.json").read_text(encoding="utf-8"))["usage"]["stages"]
    return {
        **{f"tre_{key}_mm": measures["tre_mm"][key] for key in ("before", "mean", "p90")},
        "folding_percent": measures["regularity"]["folding_percent"],
        "core_cpu_s": sum(stage["cpu_s"] for name, stage in stages.items() if name in ("predict", "affine", "fit")),
        "process_cpu_s": cost.cpu_s,
        "peak_mb": cost.peak_mb,
        **(score_field(score, out / "warp.nii.gz", pair.scorer_options, measures, folder) if score else {}),
    }


def verdicts(rows: list[dict[str, Any]]) -> list[str]:
    """Compare the results with their targets."""
    by_method = {name: [row for row in rows if row["method"] == name] for name in methods()}
    unseen = {
        name: [row for row in rows_of_method if row["pair"] != "lung_ct"] for name, rows_of_method in by_method.items()
    }
    removed = 100 * (1 - _mean(unseen["predicted"], "tre_mean_mm") / _mean(unseen["predicted"], "tre_before_mm"))
    lines = [f"- phantoms, predicted: {removed:.0f} % of the error removed (target: 75 %)"]
    scratch = unseen["from scratch"]
    for steps in REFINE:
        rows_of_method = unseen[f"refined, {steps} steps"]
        time_ratio = _mean(rows_of_method, "core_cpu_s") / _mean(scratch, "core_cpu_s")
        lines.append(
            f"- phantoms, refined by {steps} steps: {_mean(rows_of_method, 'tre_mean_mm'):.3f} mm, from scratch "
            f"{_mean(scratch, 'tre_mean_mm'):.3f} mm, in {time_ratio:.2f} of the CPU time "
            "(target: as accurate, in a third of the CPU time)"
        )
    for name, rows_of_method in by_method.items():
        limit = 4.0 if name == "predicted" else 1.15
        for row in rows_of_method:
            if row["pair"] == "lung_ct" and name != "from scratch":
                lines.append(f"- lung_ct, {name}: {row['tre_mean_mm']:.3f} mm (target: below {limit} mm)")
    return lines


def page(about: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Return the results in Markdown."""
    lines = ["# Lungs: a model trained on phantoms", "", *(f"- {name}: {value}" for name, value in about.items()), ""]
    lines += [
        *verdicts(rows),
        "",
        f"| pair | method | {' | '.join(COLUMNS.values())} |",
        "|" + "---|" * (len(COLUMNS) + 2),
    ]
    for row in rows:
        lines.append(f"| {row['pair']} | {row['method']} | {' | '.join(f'{row[key]:.3f}' for key in COLUMNS)} |")
    return "\n".join(lines) + "\n"


def _mean(rows: list[dict[str, Any]], key: str) -> float:
    return sum(row[key] for row in rows) / max(1, len(rows))


def main() -> None:
    """Train, register, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--score", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results")
    parser.add_argument("--devices", type=int, default=2, help="processes that train, each with pairs of its own")
    args = parser.parse_args()
    train(args.devices)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for pair in pairs(args.data):
            for name, options in methods().items():
                rows.append({"pair": pair.name, "method": name, **run(pair, options, Path(folder), args.score)})
                print(json.dumps(rows[-1]), flush=True)
    about = machine()
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "learned_lungs.json").write_text(json.dumps({"about": about, "rows": rows}, indent=2) + "\n")
    (args.output / "learned_lungs.md").write_text(page(about, rows))


if __name__ == "__main__":
    main()
