"""Count the verdicts on 60 right and 60 wrong registrations, and draw the curve of the rule.

    python benchmarks/quality.py DATA [--only NAME,NAME] [--fresh] [--work FOLDER] [-o FOLDER] [--figure FILE]

The cases are those of `quality_cases.py`: phantoms, and the real pairs of `DATA`. Wrong ones show another patient or
another organ, a mirrored image, a start in a wrong position, motion that was not solved, or a cut field of view. The
thresholds of `nephi.results.verdict` were chosen on the part `calibration`, half of the first 40 + 40. A case is
registered once, and its transform stored in the work folder: an interrupted run continues, `--fresh` registers
again, and the verdict is always measured anew. Writes `quality.md`, `quality.json`, and the figure of
docs/concepts/quality.md, which needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from machine import machine
from methods import HERE
from quality_cases import PARTS, Case, all_cases

import nephi
from nephi.fields import nephi_bytes, read_nephi
from nephi.preparation import prepare_pair
from nephi.results.quality import measure_pair
from nephi.results.verdict import FAILED_MATCHED, MATCHED, judge

SIDES = {True: "right", False: "wrong"}
VERDICTS = ("ok", "check", "failed")
MOST_FAILED, LEAST_FOUND = 1, 38  # of 40
FIGURE = HERE.parent / "docs" / "concepts" / "quality.png"
Row = dict[str, Any]


def register(case: Case, folder: Path, fresh: bool) -> Row:
    """Return the row of a case without its verdict; register it unless its transform is stored."""
    path = folder / f"{case.name}.json"
    if path.is_file() and not fresh:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    job, row = case.make(), {"name": case.name, "kind": case.kind, "right": case.right}
    start = time.process_time()
    try:
        result = nephi.register(**job.images, settings=job.settings, initial=job.initial, device="cpu")
    except nephi.NephiError as error:
        row |= {"cpu_s": time.process_time() - start, "error": str(error)}
    else:
        row["cpu_s"] = time.process_time() - start
        (folder / f"{case.name}.nephi").write_bytes(nephi_bytes(result.stored))
        if job.landmarks is not None:
            errors = nephi.landmark_errors(result.transform, job.landmarks).summary()
            row |= {"before": errors["before"], "tre": errors["mean"]}
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return row


def with_verdict(row: Row, case: Case, folder: Path) -> Row:
    """Return the row with the verdict on the stored transform; images that nephi refuses to register have failed."""
    row["part"] = case.part
    if "error" in row:
        return row | {"verdict": "failed", "reasons": [row["error"]]}
    job, stored = case.make(), read_nephi(folder / f"{case.name}.nephi")
    masks = job.images.get("fixed_mask"), job.images.get("moving_mask")
    pair, settings = prepare_pair(job.images["fixed"], job.images["moving"], *masks, job.settings)
    start = time.process_time()
    measured = measure_pair(pair, stored.transform, settings, 0)
    quality = judge(measured, pair, settings).table()
    return row | {"quality_cpu_s": time.process_time() - start} | quality


def measured_rows(args: argparse.Namespace) -> list[Row]:
    """Register the missing cases; return the rows of all cases that are registered, with their verdicts."""
    folder = args.work / "quality"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for case in all_cases(args.data):
        wanted = any(name in case.name for name in args.only) if args.only else True
        if not wanted and not (folder / f"{case.name}.json").is_file():
            continue
        row = with_verdict(register(case, folder, wanted and args.fresh), case, folder)
        rows.append(row)
        print(f"{case.name}: {row['verdict']}; {'; '.join(row['reasons'])}", flush=True)
    return rows


def matched(row: Row) -> float:
    """Return the fraction of structures that find their counterpart; 0 where nothing could be measured."""
    return (row["after"]["matched"] or 0.0) if "after" in row else 0.0


def page(about: dict[str, Any], rows: list[Row]) -> str:
    """Return the page in Markdown: counts, the rule by kinds, and every case that is not as it should be."""
    facts = [f"- {name}: {value}" for name, value in about.items()]
    lines = ["# Verdicts", "", *facts, "", "| registrations | cases | ok | check | failed |", "|---|---|---|---|---|"]
    for side, name in SIDES.items():
        for part in PARTS:
            group = [row for row in rows if (row["right"], row["part"]) == (side, part)]
            lines.append(count_line(f"{name}, {part}", group))
    counted = [row for row in rows if row["part"] != "unseen"]
    right, wrong = ([row for row in counted if row["right"] == side] for side in SIDES)
    failed = sum(row["verdict"] == "failed" for row in right)
    found = sum(row["verdict"] != "ok" for row in wrong)
    lines += ["", f"- {failed} of {len(right)} right ones failed, at most {MOST_FAILED}: {met(failed <= MOST_FAILED)}"]
    lines.append(
        f"- {found} of {len(wrong)} wrong ones check or failed, at least {LEAST_FOUND}: {met(found >= LEAST_FOUND)}"
    )
    lines += ["", "| kind | cases | ok | check | failed | structures matched | CPU s of the verdict |"]
    lines.append("|---|---|---|---|---|---|---|")
    kinds = dict.fromkeys((row["right"], row["kind"]) for row in rows)
    for side, kind in kinds:
        each = [row for row in rows if (row["right"], row["kind"]) == (side, kind)]
        values = sorted(map(matched, each))
        seconds = [row["quality_cpu_s"] for row in each if "quality_cpu_s" in row]
        cost = f"{sum(seconds) / len(seconds):.2f}" if seconds else ""
        span = f"{100 * values[0]:.0f} to {100 * values[-1]:.0f} %"
        lines.append(f"{count_line(f'{SIDES[side]}: {kind}', each)} {span} | {cost} |")
    odd = [row for row in rows if (row["verdict"] == "ok") != row["right"]]
    lines += ["", "Right ones that are not ok, and wrong ones that are:", ""]
    lines += [f"- {row['name']}: {row['verdict']}; {'; '.join(row['reasons'])}" for row in odd]
    return "\n".join(lines) + "\n"


def count_line(title: str, rows: list[Row]) -> str:
    """Return a line of a table with the number of each verdict."""
    counts = Counter(row["verdict"] for row in rows)
    return f"| {' | '.join([title, str(len(rows)), *(str(counts[verdict]) for verdict in VERDICTS)])} |"


def met(holds: bool) -> str:
    """Return `met` or `missed`."""
    return "met" if holds else "**missed**"


def draw(rows: list[Row], path: Path) -> None:
    """Draw the share of right and of wrong registrations below each threshold of the matched structures."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.4), layout="constrained")
    thresholds = [n / 200 for n in range(201)]
    for side, colour in ((False, "#b2182b"), (True, "#2166ac")):
        for part, style in zip(PARTS, (":", "--", "-"), strict=True):
            values = [matched(row) for row in rows if (row["right"], row["part"]) == (side, part)]
            shares = [100 * sum(value < limit for value in values) / max(1, len(values)) for limit in thresholds]
            axes.plot([100 * t for t in thresholds], shares, style, color=colour, label=f"{SIDES[side]}, {part}")
    for limit, text in ((FAILED_MATCHED, "failed"), (MATCHED, "check")):
        axes.axvline(100 * limit, color="#777777", linewidth=0.8)
        axes.text(100 * limit - 0.7, 3, text, ha="right", fontsize=8, color="#555555")
    axes.set(xlabel="threshold: structures that find their counterpart, %", ylabel="registrations below it, %")
    axes.set(xlim=(0, 100), ylim=(0, 100))
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0.0, 0.95))
    figure.savefig(path, dpi=150)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=lambda text: Path(text).resolve())
    names = {"type": lambda text: [part for part in text.split(",") if part], "metavar": "A,B"}
    parser.add_argument("--only", default=[], **names, help="parts of the names of cases to register")
    parser.add_argument("--fresh", action="store_true", help="register again")
    parser.add_argument("--work", type=lambda text: Path(text).resolve(), default=HERE / "work")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results")
    parser.add_argument("--figure", type=Path, default=FIGURE)
    return parser.parse_args()


def main() -> None:
    """Register the missing cases, then write the results."""
    args = arguments()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", nephi.DataWarning)
    rows = measured_rows(args)
    about = machine() | {"cases": "benchmarks/quality_cases.py; transforms of earlier commands included"}
    args.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"about": about, "rows": rows}, indent=1)
    (args.output / "quality.json").write_text(text + "\n", encoding="utf-8")
    (args.output / "quality.md").write_text(page(about, rows), encoding="utf-8")
    draw(rows, args.figure)
    print(page(about, rows))


if __name__ == "__main__":
    main()
