"""Reproduce ConstrICON's figure of 3 x 3 networks: what makes maps inverse consistent, and what it costs in similarity.

    python benchmarks/family_constricon.py [--steps 300] [--batch 16] [--seeds 2] [-o FOLDER]

Networks N (a displacement), exp N (the flow of a velocity) and exp(N - N') (antisymmetric), each in one step, in two
steps, and in two consistent steps (`nephi.models.composition`), register hollow shapes of 30 x 30 pixels. They are
trained on the similarity of both directions alone, local NCC in Gaussian windows, without any penalty, as in Greer et
al. (MICCAI 2023, there with 1,410 steps of 128 pairs and 65 repeats). Writes family_constricon.json, .md and .png.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from machine import machine
from torch import Tensor

from nephi.geometry import Grid, determinant, interpolate_batch
from nephi.models import Antisymmetric, Consistent, PairNetwork, Steps, Swapped, UNet, UNetSettings
from nephi.models.displacement_unet import DisplacementNetwork, VelocityNetwork
from nephi.phantoms import silhouettes
from nephi.transforms import MapPair

HERE = Path(__file__).parent
SIZE = 30  # pixels of 1 mm
SIGMA = 5  # pixels, of the Gaussian window; it ends at 2 sigma
UNET = UNetSettings((16, 32, 32, 64))
TEST_PAIRS = 200
GRID = Grid.from_spacing((SIZE, SIZE), (1.0, 1.0))

NOTES = """
Networks N (a displacement), exp N (the flow of a velocity) and exp(N - N') (antisymmetric), each in one step, in two
steps, and in two consistent steps, trained on hollow triangles and circles of 30 x 30 pixels by the local NCC of
both directions, without any penalty (after Greer et al., MICCAI 2023). The inverse of N and exp N, and of two steps of
any network, is the map of the exchanged images. Test pairs were not trained on. These are minutes of training: the
order of the networks is what is measured, not what any of them reaches.
""".strip().splitlines()

Make = Callable[[torch.Generator], PairNetwork]
NETWORKS: dict[str, Make] = {
    "N": lambda generator: DisplacementNetwork(UNET, GRID, generator),
    "exp N": lambda generator: VelocityNetwork(UNET, GRID, generator),
    "exp(N - N')": lambda generator: Antisymmetric(UNet(UNET, GRID, generator, bias=False), "flow"),
}
COMPOSITIONS: dict[str, Callable[[Make, torch.Generator], PairNetwork]] = {
    "one step": lambda make, generator: Swapped(make(generator)),
    "two steps": lambda make, generator: Swapped(Steps(GRID, [make(generator), make(generator)])),
    "two consistent steps": lambda make, generator: Consistent(
        GRID, [Swapped(make(generator)), Swapped(make(generator))]
    ),
}


def train(network: PairNetwork, steps: int, batch: int, generator: torch.Generator) -> None:
    """Minimise the mean dissimilarity of both directions by Adam, on new images at each step."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(steps):
        fixed, moving = pairs(batch, generator)
        loss = dissimilarity(network(fixed, moving), fixed, moving)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def scores(network: PairNetwork, fixed: Tensor, moving: Tensor) -> dict[str, float]:
    """Return the dissimilarity, the inverse consistency error in pixels, and the percentage of folds, of test pairs."""
    prediction, points = network(fixed, moving), centres(len(fixed))
    assert prediction.inverse is not None
    there, jacobians = prediction.forward.value_and_jacobian(points)
    back = prediction.inverse(there)
    other = prediction.forward(prediction.inverse(points))
    errors = torch.stack([(each - points).norm(dim=-1) for each in (back, other)])
    return {
        "dissimilarity": float(dissimilarity(prediction, fixed, moving)),
        "inverse_error_pixels": float(errors.mean()),
        "inverse_error_max_pixels": float(errors.max()),
        "folding_percent": 100 * float((determinant(jacobians) <= 0).double().mean()),
        "displacement_pixels": float((there - points).norm(dim=-1).mean()),
    }


def dissimilarity(prediction: MapPair, fixed: Tensor, moving: Tensor) -> Tensor:
    """Return 1 - local NCC, the mean over both directions and all pixels."""
    points = centres(len(fixed))
    assert prediction.inverse is not None
    warped = interpolate_batch(moving, GRID, prediction.forward(points)).reshape(fixed.shape)
    back = interpolate_batch(fixed, GRID, prediction.inverse(points)).reshape(fixed.shape)
    return 0.5 * (1 - local_ncc(warped, fixed).mean() + 1 - local_ncc(back, moving).mean())


def local_ncc(one: Tensor, two: Tensor) -> Tensor:
    """Return the correlation in Gaussian windows, 0 outside of the images, of images `(B, 1, n, n)` at each pixel."""
    offsets = torch.arange(-2 * SIGMA, 2 * SIGMA + 1, dtype=torch.float32)
    weights = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    weights = weights / weights.sum()

    def blurred(images: Tensor) -> Tensor:
        for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
            images = torch.nn.functional.conv2d(images, weights.reshape(shape), padding="same")
        return images

    means = blurred(one), blurred(two)
    variances = [(blurred(image**2) - m**2).relu() + 1e-5 for image, m in zip((one, two), means, strict=True)]
    return (blurred(one * two) - means[0] * means[1]) / (variances[0] * variances[1]).sqrt()


def pairs(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return fixed and moving images `(count, 1, n, n)`, drawn independently."""
    images = silhouettes(2 * count, generator, SIZE, hollow=True)[0].unsqueeze(1)
    return images[:count], images[count:]


def centres(count: int) -> Tensor:
    """Return the pixel centres `(count, n n, 2)`, mm."""
    return GRID.voxel_centres().reshape(1, -1, 2).expand(count, -1, -1)


def page(about: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Return the results in Markdown: a table of 3 x 3 for each measure."""
    lines = [
        "# Inverse consistency by construction: 3 x 3 networks",
        "",
        "![figure](family_constricon.png)",
        "",
        *NOTES,
        "",
    ]
    lines += [f"- {name}: {value}" for name, value in about.items()] + [""]
    measures = {
        "dissimilarity": ("1 - local NCC of test pairs", "{:.3f}"),
        "inverse_error_pixels": ("Inverse consistency error, mean distance in pixels", "{:.2g}"),
        "folding_percent": ("Folds, % of the pixels", "{:.3g}"),
        "displacement_pixels": ("Mean displacement, pixels", "{:.2f}"),
        "seconds": ("Training time, s", "{:.0f}"),
    }
    for measure, (title, form) in measures.items():
        lines += [f"## {title}", "", f"| | {' | '.join(COMPOSITIONS)} |", "|---|" + "---|" * len(COMPOSITIONS)]
        for network in NETWORKS:
            cells = []
            for composition in COMPOSITIONS:
                values = [row[measure] for row in rows if (row["network"], row["steps"]) == (network, composition)]
                spread = f" +- {form.format(stdev(values))}" if len(values) > 1 and measure == "dissimilarity" else ""
                cells.append(form.format(mean(values)) + spread if values else "")
            lines.append(f"| {network} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the inverse consistency error against the similarity, one point for each training."""
    figure, axis = plt.subplots(figsize=(6.4, 4.2))
    colors = dict(zip(NETWORKS, ("tab:gray", "tab:orange", "tab:blue"), strict=True))
    markers = dict(zip(COMPOSITIONS, ("o", "s", "*"), strict=True))
    for network, color in colors.items():
        for composition, marker in markers.items():
            own = [row for row in rows if (row["network"], row["steps"]) == (network, composition)]
            axis.plot(
                [row["dissimilarity"] for row in own],
                [row["inverse_error_pixels"] for row in own],
                marker,
                color=color,
                markersize=9 if marker == "*" else 6,
                label=f"{network}, {composition}",
            )
    axis.set_yscale("log")
    axis.set_xlabel("1 - local NCC of test pairs (lower is more similar)")
    axis.set_ylabel("inverse consistency error, pixels")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Train and score the networks; results are written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="optimization steps of a training")
    parser.add_argument("--batch", type=int, default=16, help="pairs at each step")
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each network")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    about = machine() | {"trainings": f"{chosen.steps} steps of {chosen.batch} pairs, {chosen.seeds} seeds each"}
    about["threads"] = str(chosen.threads)
    test = pairs(TEST_PAIRS, torch.Generator().manual_seed(10_000))
    rows: list[dict[str, Any]] = []
    for seed in range(chosen.seeds):
        for network_name, make in NETWORKS.items():
            for composition_name, compose in COMPOSITIONS.items():
                generator = torch.Generator().manual_seed(seed)
                network = compose(make, generator)
                start = time.perf_counter()
                train(network, chosen.steps, chosen.batch, generator)
                seconds = time.perf_counter() - start
                row = {"network": network_name, "steps": composition_name, "seed": seed, "seconds": seconds}
                rows.append(row | scores(network, *test))
                print(json.dumps(rows[-1]), flush=True)
                save(about, rows, chosen.output)


def save(about: dict[str, Any], rows: list[dict[str, Any]], folder: Path) -> None:
    """Write the rows, the page and the figure."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "family_constricon.json").write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    (folder / "family_constricon.md").write_text(page(about, rows))
    draw(rows, folder / "family_constricon.png")


if __name__ == "__main__":
    main()
