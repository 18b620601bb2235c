"""Draw deformations decoded from interpolated latent values of two predictions, and count their folds.

    python benchmarks/learned_codes.py [--model MODEL] [-o FIGURE.png]

The model is that of `benchmarks/learned_shapes.py`, triangles and circles; the pairs are from its test split.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch import Tensor

import nephi
from nephi.inference import blend

HERE = Path(__file__).parent
WORK = HERE / "work" / "learned"
PAIRS = ((4, 11), (2, 9))  # indices in the test split, one row each
FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
STEP = 6  # pixels between the lines of the deformation grid


def draw(model: nephi.models.StoredModel, index: nephi.datasets.DatasetIndex, path: Path) -> float:
    """Draw a row for each two pairs, the moving image of the first warped; return the percentage of folds."""
    figure, axes = plt.subplots(len(PAIRS), len(FRACTIONS), figsize=(11, 4.6))
    pairs, folds = index.pairs("test"), []
    for row, numbers in zip(axes, PAIRS, strict=True):
        images = [_images(index, pairs[number]) for number in numbers]
        ends = [nephi.predict(*two, model=model, device="cpu").stored for two in images]
        fixed, moving = images[0]
        centres = fixed.grid.voxel_centres().float()
        for axis, fraction in zip(row, FRACTIONS, strict=True):
            between = blend(*ends, fraction)
            transform = between.transform
            with torch.no_grad():
                folds.append(nephi.metrics.regularity(transform, fixed.grid).folding_percent)
                back = between.inverse(centres)  # the grid is carried along with the moving image by the inverse
            warped = nephi.resample(moving, fixed.grid, transform)
            axis.imshow(warped.data.T, cmap="gray", origin="lower", alpha=0.55)
            _lines(axis, back)
            axis.set_axis_off()
            axis.set_title(f"{fraction:g}", fontsize=9)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    return sum(folds) / len(folds)


def _images(index: nephi.datasets.DatasetIndex, pair: nephi.datasets.DatasetPair) -> list[nephi.Image]:
    return [nephi.read_image(index.path(index.image(id).image)) for id in (pair.fixed, pair.moving)]


def _lines(axis: plt.Axes, moved: Tensor) -> None:
    """Draw the lines of a regular grid on the moving image, warped."""
    for lines in (moved[::STEP], moved[:, ::STEP].transpose(0, 1)):
        for line in lines:
            axis.plot(line[:, 0], line[:, 1], color="tab:orange", linewidth=0.4)
    axis.set_xlim(0, 127)
    axis.set_ylim(0, 127)


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=WORK / "runs" / "solid-nephi" / "last.safetensors")
    parser.add_argument("-o", "--output", type=Path, default=HERE.parent / "docs" / "concepts" / "codes.png")
    chosen = parser.parse_args()
    folds = draw(nephi.read_model(chosen.model), nephi.datasets.read_dataset_index(WORK / "solid"), chosen.output)
    print(f"{folds:.4f} % of the pixels fold, over all {len(PAIRS) * len(FRACTIONS)} deformations")


if __name__ == "__main__":
    main()
