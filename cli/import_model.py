"""`nephi import-model`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import FILE, check_output, verbosity_options
from .printing import by, echo_line

# Listed again, because nephi itself would import torch; a test compares them.
SOURCES = ("unigradicon", "multigradicon", "gradicon", "brainmorph", "keymorph")
MODALITIES = ("ct", "mri")
ANATOMIES = ("lung", "knee", "brain")
MASKS = ("none", "given", "lungs", "foreground")
WEIGHTINGS = ("power", "equal")


class Shape(click.ParamType):  # type: ignore[type-arg] # generic in recent versions of click only
    """Numbers of voxels, such as 80x192x192."""

    name = "shape"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the numbers."""
        if isinstance(value, tuple):
            return value
        numbers = value.split("x")
        if len(numbers) not in (2, 3) or not all(n.isascii() and n.isdigit() and len(n) < 6 for n in numbers):
            self.fail(f"expected numbers of voxels such as 80x192x192, got {value!r}", param, ctx)
        return tuple(map(int, numbers))


@click.command(short_help="Turn published weights into a model.")
@click.argument("source", type=click.Choice(SOURCES), metavar="NAME")
@click.argument("weights", type=FILE, metavar="WEIGHTS")
@click.option("-o", "--output", type=FILE, required=True, metavar="MODEL", help="File for the model, .safetensors.")
@click.option(
    "--modality", type=click.Choice(MODALITIES), help="Images that will be registered; for uni-, multigradicon."
)
@click.option("--anatomy", type=click.Choice(ANATOMIES), help="Which of GradICON's networks it is; for gradicon.")
@click.option("--shape", type=Shape(), metavar="ZxYxX", help="Voxels of the network's input. Default: as published.")
@click.option("--window", type=float, nargs=2, metavar="LOW HIGH", help="Intensities that become 0 and 1.")
@click.option("--percentiles", type=float, nargs=2, metavar="LOW HIGH", help="The same as percentiles of all voxels.")
@click.option("--mask", type=click.Choice(MASKS), help="Masks of images; voxels outside become 0.")
@click.option(
    "--align", metavar="MAP", help="rigid, affine or tps:0.1, ...; for brainmorph, keymorph.  [default: affine]"
)
@click.option("--weighting", type=click.Choice(WEIGHTINGS), help="Weights of keypoints; for brainmorph, keymorph.")
@verbosity_options
def import_model(source: str, weights: Path, output: Path, quiet: bool, verbose: bool, **options: Any) -> None:
    """Turn the published WEIGHTS of NAME into a model for `nephi register --model` and `nephi finetune`.

    \b
    unigradicon, multigradicon  Step_2_final.trch, network_weights_final.trch
    gradicon                    lung_model_weights_step_2.trch and those of knees and brains
    brainmorph                  foundation-numkey256-numlevels4.pth.tar
    keymorph                    epoch2000_trained_model.pth.tar

    The model predicts what the published network predicts, in world coordinates, for images of any orientation and
    spacing. Nothing in WEIGHTS is executed: files that need code to be read are refused. The default of --weighting is
    power for brainmorph, as in its program, and equal for keymorph.

    \b
    nephi import-model unigradicon Step_2_final.trch -o unigradicon-ct.safetensors --modality ct
    nephi register -f exhale.nii.gz -m inhale.nii.gz --model unigradicon-ct.safetensors -o result --refine 50
    """
    import nephi

    if output.suffix.lower() != ".safetensors":
        raise nephi.UsageError(f"-o: expected a file name that ends with .safetensors, got {output}")
    check_output(output, weights)
    given = {name: value for name, value in options.items() if value is not None}
    stored = nephi.models.import_published(source, weights, nephi.models.ImportOptions(**given))
    nephi.models.write_model(stored, output)
    if not quiet:
        parameters = sum(p.numel() for p in stored.model.parameters())
        echo_line(f"{output}: {source}, {parameters} parameters, input of {by(stored.input.shape)} voxels")
