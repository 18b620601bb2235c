"""`nephi register-group`."""

from __future__ import annotations

import re
from pathlib import Path

import click

from .options import FILE, device_option, verbosity_options
from .printing import print_rows, progress_bar


@click.command("register-group", short_help="Register many images to their common frame by keypoints.")
@click.argument("model", type=FILE, metavar="MODEL")
@click.argument("images", type=FILE, metavar="IMAGES...", nargs=-1)
@click.option("-o", "--output", type=FILE, required=True, metavar="OUT", help="Folder for the results.")
@click.option(
    "--mask",
    "masks",
    type=FILE,
    metavar="MASK",
    multiple=True,
    help="Region of an image (voxels above 0), for models that use masks; once for each of IMAGES, in their order.",
)
@click.option(
    "--align",
    metavar="NAME",
    help="Alignment: rigid, similarity, affine, halfway, or tps:LAMBDA.  [default: that of the model]",
)
@click.option(
    "--iterations",
    type=click.IntRange(min=1, max=1000),
    metavar="N",
    default=5,
    show_default=True,
    help="How many times the mean is computed and all are aligned to it.",
)
@click.option(
    "--reference", type=FILE, metavar="IMAGE", help="Image whose grid the warped images get.  [default: model input]"
)
@click.option("--outside", type=float, default=0.0, show_default=True, help="Value of voxels outside an image.")
@device_option
@click.option("--overwrite", is_flag=True, help="Allow a non-empty OUT; earlier results in it are replaced.")
@verbosity_options
def register_group(
    model: Path,
    images: tuple[Path, ...],
    output: Path,
    masks: tuple[Path, ...],
    align: str | None,
    iterations: int,
    reference: Path | None,
    outside: float,
    device: str,
    overwrite: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Register IMAGES to their common frame with a MODEL that finds keypoints (KeyMorph).

    \b
    nephi register-group keymorph.safetensors visits/*.nii.gz -o group --align affine

    The keypoints of all images are averaged, those of each image are aligned to the mean, and both is repeated. One
    image is in memory at a time. Files in OUT:

    \b
    group.json            images, and the distances of their keypoints from the mean
    mean.nii.gz           mean of the warped images
    NAME/transform.nephi  maps points of the common frame to the image
    NAME/warped.nii.gz    the image on the common grid
    """
    import nephi

    stored = nephi.read_model(model)
    try:
        nephi.inference.check_group(stored, images, align, masks)
    except nephi.UsageError as error:
        raise nephi.UsageError(re.sub("^masks:", "--mask:", str(error))) from None
    nephi.inference.check_group_folder(output, overwrite)
    grid = None if reference is None else nephi.io.read_grid(reference)
    with progress_bar(quiet) as progress:
        group = nephi.inference.register_group(
            images,
            model=stored,
            align=align,
            masks=masks,
            iterations=iterations,
            reference=grid,
            device=device,
            progress=progress,
        )
        summary = nephi.inference.save_group(group, output, overwrite=overwrite, outside=outside, progress=progress)
    if quiet:
        return
    rows = [("images", str(len(group.images)))]
    for label, distances in (("before", group.distances_before), ("after", group.distances)):
        rows.append((f"keypoints from the mean, {label}", f"{sum(distances) / len(distances):.3f} mm"))
    if verbose:
        rows += [(str(path), f"{d:.3f} mm") for path, d in zip(group.images, group.distances, strict=True)]
    print_rows("Registered", [*rows, ("summary", str(summary))])
