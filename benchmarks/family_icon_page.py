"""Draw the figure and write the table of `family_icon.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image

COLUMNS = {
    "similarity": ("correlation", ".3f"),
    "dice": ("Dice of the lines", ".3f"),
    "folds_between_percent": ("det J <= 0 at random points, %", ".3f"),
    "folds_percent": ("at voxel centres, %", ".3f"),
    "folded_pairs_percent": ("pairs with a fold, %", ".1f"),
    "inverse_error_mm": ("inverse error, mm", ".2f"),
    "seconds": ("training, s", ".0f"),
}
TERMS = {"icon": "ICON", "gradicon": "GradICON", "bending": "bending", "diffusion": "diffusion"}
SAMPLINGS = {"grid": "only at voxel centres", "random": "anywhere"}
TABLES = {f"tables-{name}": title for name, title in SAMPLINGS.items()}
EXAMPLES = {"tables-grid": "0.5", "tables-random": "0.5"}  # weights of about equal similarity
TEXT = """# Inverse consistency on and off the grid, and folds at equal similarity

![figure](family_icon.png)

Hollow triangles and circles of {size} x {size} pixels in an image of 128 mm, global NCC, {steps} steps of Adam; the
same pairs and random numbers for all rows of a table. Folds and similarity are those of the map from fixed to moving
points. These are minutes of training: the order of the methods is what is measured, not what any of them reaches.

## ICON's penalty at voxel centres, or anywhere

A displacement of every pixel and its inverse, fitted to 32 pairs at once without a network; the similarity is computed
at all voxel centres in both cases. At voxel centres the penalty does not see what the interpolated maps do between
them: at equal similarity the maps fold about twice as often, although their inverse error at the voxel centres is
smaller.

{tables}

## The same with a network

Two steps at full resolution and, first, the weight of the paper for hollow shapes (0.0214 per mm^2), batches of {batch}
pairs; all points of the loss at voxel centres, or anywhere; 200 pairs that were not trained on. In so short a training
the network itself keeps maps smooth between voxels, and the points make no measurable difference.

{grid}

## A sweep of weights

Two steps, at half and at full resolution; both directions are predicted and every penalty counts for both. Between
correlations of 0.91 and 0.95 GradICON folds least at equal similarity, then bending, diffusion and ICON; with the
smallest weights, above 0.955, bending folds less than GradICON.

{sweep}

{machine}
"""


def write_page(results: Mapping[str, Any], output: Path, work: Path) -> None:
    """Write `family_icon.md` and `family_icon.png`; `work` holds the maps of the pairs by the names of the rows."""
    rows = results["rows"]
    parts = {
        part: {name: row for name, row in rows.items() if name.split()[0] in names}
        for part, names in (("tables", TABLES), ("grid", SAMPLINGS), ("sweep", TERMS))
    }
    trained = next(iter(rows.values()))["trained"]
    text = TEXT.format(
        **{name: trained[name] for name in ("size", "steps", "batch")},
        tables=_table(parts["tables"], TABLES),
        grid=_table(parts["grid"], SAMPLINGS),
        sweep=_table(parts["sweep"], TERMS),
        machine="; ".join(str(value) for value in results["machine"].values()),
    )
    (output / "family_icon.md").write_text(text, encoding="utf-8")
    _draw(parts, output / "family_icon.png", work)


def _table(rows: Mapping[str, Any], names: Mapping[str, str]) -> str:
    lines = ["| | weight | " + " | ".join(title for title, _ in COLUMNS.values()) + " |", "|---" * 9 + "|"]
    for name, row in rows.items():
        kind, weight = name.split()
        values = [f"{row[column]:{form}}" for column, (_, form) in COLUMNS.items()]
        lines.append(f"| {names[kind]} | {weight} | {' | '.join(values)} |")
    return "\n".join(lines)


def _draw(parts: Mapping[str, Mapping[str, Any]], path: Path, work: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 5, figsize=(17, 3.8), width_ratios=(1, 1, 1, 1.3, 1.3), layout="constrained")
    examples = [work / f"{name} {EXAMPLES[name]}.pt" for name in TABLES]
    if all(example.is_file() for example in examples):
        _draw_examples(axes[:3], [torch.load(example, weights_only=True) for example in examples])
    _draw_curves(axes[3], parts["tables"], TABLES)
    axes[3].set_title("ICON's penalty on a free displacement")
    _draw_curves(axes[4], parts["sweep"], TERMS)
    axes[4].set_title("One network, four penalties")
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
    with Image.open(path) as picture:  # 160 colours: half of the bytes
        picture.convert("RGB").quantize(160).save(path, optimize=True)


def _draw_curves(axis: Any, rows: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Draw the folds of each method against its similarity, one point for each weight."""
    for kind, title in names.items():
        own = [row for name, row in rows.items() if name.split()[0] == kind]
        points = sorted((row["similarity"], row["folds_between_percent"]) for row in own)
        if points:
            axis.plot(*zip(*points, strict=True), marker="o", label=title)
            axis.legend()
    axis.set(xlabel="correlation of the warped and the fixed image", ylabel="det J <= 0, % of random points")
    axis.set_yscale("symlog", linthresh=0.01)
    axis.set_ylim(bottom=-0.001)


def _draw_examples(axes: Any, parts: list[dict[str, Any]]) -> None:
    """Draw the pair with the most folds of the first method, and its maps by both."""
    pair = int(parts[0]["folds"].argmax())
    fixed, moving = (parts[0][name][pair, 0] for name in ("fixed", "moving"))
    axes[0].imshow(torch.stack([fixed, moving, moving], dim=-1).clamp(0, 1).transpose(0, 1), origin="lower")
    axes[0].set_title("fixed (red), moving (cyan)", fontsize=9)
    size = len(fixed)
    for axis, part, (name, title) in zip(axes[1:], parts, TABLES.items(), strict=True):
        lines = part["displaced"][pair].reshape(size, size, 2)
        for k in range(size):
            axis.plot(*lines[k].T, color="tab:blue", linewidth=0.5)
            axis.plot(*lines[:, k].T, color="tab:blue", linewidth=0.5)
        axis.set_title(f"penalty {title}, {EXAMPLES[name]}", fontsize=9)
        axis.set_aspect("equal")
    for axis in axes:
        axis.set(xticks=[], yticks=[])
