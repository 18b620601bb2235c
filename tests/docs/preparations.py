"""Write the files that a page assumes, in small: the page names a function here as `<!-- prepare: NAME -->`."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from functools import cache
from pathlib import Path

import torch

import nephi
from nephi import phantoms

SMALL = (68, 50, 54)
PROGRAMS = ".programs"  # a folder that is added to the PATH


@cache
def _pair() -> nephi.phantoms.PhantomPair:
    return nephi.phantoms.lung_phantom(seed=1, motion=15.0, shape=SMALL)


@cache
def _registration() -> nephi.Registration:
    pair = _pair()
    masks = {"fixed_mask": pair.fixed_mask, "moving_mask": pair.moving_mask}
    return nephi.register(pair.fixed, pair.moving, preset="lung-ct-fast", **masks)


def lung_ct(folder: Path) -> None:
    """Write lung CT in Hounsfield units with masks, labels and landmarks, with the file names of README."""
    pair = _pair()
    nephi.write_image(pair.fixed, folder / "exhale.nii.gz")
    nephi.write_image(pair.moving, folder / "inhale.nii.gz")
    nephi.write_image(pair.fixed_mask, folder / "exhale_lungs.nii.gz")
    nephi.write_image(pair.moving_mask, folder / "inhale_lungs.nii.gz")
    nephi.write_image(pair.moving_mask, folder / "inhale_labels.nii.gz")
    nephi.write_points(folder / "exhale_points.csv", pair.landmarks.fixed)
    nephi.write_point_pairs(folder / "landmarks.csv", pair.landmarks)


def fitted(folder: Path) -> None:
    """Write images, masks, landmarks and a result of `nephi register`: fixed, moving, result."""
    pair = _pair()
    for name in ("fixed", "moving", "fixed_mask", "moving_mask"):
        nephi.write_image(getattr(pair, name), folder / f"{name}.nii.gz")
    nephi.write_point_pairs(folder / "landmarks.csv", pair.landmarks)
    nephi.write_points(folder / "fixed_points.csv", pair.landmarks.fixed)
    _registration().save(folder / "result")


def elastix(folder: Path) -> None:
    """Write a translation in the format of elastix."""
    (folder / "TransformParameters.0.txt").write_text(
        '(Transform "TranslationTransform")\n(NumberOfParameters 3)\n(TransformParameters 0.5 -1.0 2.0)\n'
        '(InitialTransformParameterFileName "NoInitialTransform")\n(HowToCombineTransforms "Compose")\n'
        "(FixedImageDimension 3)\n",
        encoding="utf-8",
    )


def cohort(folder: Path) -> None:
    """Write two pairs, one folder each."""
    pair = _pair()
    for name in ("ada", "ben"):
        (folder / "patients" / name).mkdir(parents=True)
        nephi.write_image(pair.fixed, folder / "patients" / name / "exhale.nii.gz")
        nephi.write_image(pair.moving, folder / "patients" / name / "inhale.nii.gz")


def programs(folder: Path) -> None:
    """Write scripts that run the programs of ANTs and greedy in their Python packages, if these are installed."""
    bodies = {
        ("antsApplyTransforms", "ants"): "from ants.internal import get_lib_fn; call = get_lib_fn(sys.argv[1])\n"
        "sys.exit(call(sys.argv[2:]))",
        ("greedy", "picsl_greedy"): "import picsl_greedy\npicsl_greedy.Greedy3D().execute(' '.join(sys.argv[4:]))",
    }
    (folder / PROGRAMS).mkdir()
    for (name, module), body in bodies.items():
        if importlib.util.find_spec(module) is not None:
            script = folder / PROGRAMS / name
            script.write_text(f"#!{sys.executable}\nimport sys\nsys.argv[1:1] = ['{name}']\n{body}\n", encoding="utf-8")
            script.chmod(0o755)


def snakemake_example(folder: Path) -> None:
    """Write the files of the Snakemake example and the data of its table."""
    example = Path(__file__).parents[2] / "examples" / "snakemake"
    for name in ("Snakefile", "pairs.csv"):
        shutil.copy(example / name, folder)
    config = (example / "config.yaml").read_text(encoding="utf-8").replace("preset: lung-ct", "preset: lung-ct-fast")
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    program = Path(sys.prefix, "snakemake", "bin", "snakemake")  # installed by `make test`
    if program.exists():
        (folder / PROGRAMS).mkdir()
        (folder / PROGRAMS / "snakemake").symlink_to(program)
    pair = _pair()
    for name in ("ada", "ben"):
        data = folder / "data" / name
        data.mkdir(parents=True)
        for side, image, mask in (("exhale", pair.fixed, pair.fixed_mask), ("inhale", pair.moving, pair.moving_mask)):
            nephi.write_image(image, data / f"{side}.nii.gz")
            nephi.write_image(mask, data / f"{side}_lungs.nii.gz")
        nephi.write_point_pairs(data / "landmarks.csv", pair.landmarks)


def silhouettes(folder: Path) -> None:
    """Write images of triangles and circles, and label maps of their inside."""
    pictures, inside = phantoms.silhouettes(8, torch.Generator().manual_seed(0), 32)
    grid = nephi.Grid.from_spacing((32, 32), (2.0, 2.0))
    for name, images in (("images", pictures), ("labels", inside.to(torch.uint8))):
        (folder / "shapes" / name).mkdir(parents=True)
        for number, data in enumerate(images):
            nephi.write_image(nephi.Image(data, grid), folder / "shapes" / name / f"shape{number}.nii.gz")


def keypoint_model(folder: Path) -> None:
    """Write three images of shapes and an untrained model with keypoints."""
    from nephi import models

    pictures, _ = phantoms.silhouettes(3, torch.Generator().manual_seed(3), 32)
    for number, data in enumerate(pictures):
        image = nephi.Image(data, nephi.Grid.from_spacing((32, 32), (2.0, 2.0)))
        nephi.write_image(image, folder / f"shape{number}.nii.gz")
    box = models.InputSettings((32, 32), (2.0, 2.0), window=(0.0, 1.0))
    settings = models.KeyMorphSettings(keypoints=8, filters=(4, 8))
    model = models.build_model(settings, models.input_grid(box), torch.Generator().manual_seed(0)).eval()
    stored = models.StoredModel(model, box, nephi.settings.TrainingObjectiveSettings(gradicon=0.0, codes=0.0))
    models.write_model(stored, folder / "keypoints.safetensors")


def data_set(folder: Path) -> None:
    """Write a data set of one subject, with the folder name of docs/how-to/datasets.md."""
    pair, root = _pair(), folder / "datasets" / "dirlab_copd"
    (root / "images").mkdir(parents=True)
    nephi.write_image(pair.fixed, root / "images" / "copd1-eBH.nii.gz")
    nephi.write_image(pair.moving, root / "images" / "copd1-iBH.nii.gz")
    images = tuple(
        nephi.datasets.DatasetImage(f"copd1-{p}", "copd1", f"images/copd1-{p}.nii.gz") for p in ("eBH", "iBH")
    )
    split = nephi.datasets.DatasetSplit(("copd1",), (nephi.datasets.DatasetPair("copd1-eBH", "copd1-iBH"),))
    nephi.datasets.write_dataset_index(
        nephi.datasets.DatasetIndex("DIR-Lab COPDgene", 3, images, {"test": split}), root / "dataset.json"
    )


def model(folder: Path) -> None:
    """Write the files of `lung_ct` and an untrained model for them, with small random last layers."""
    from nephi import models
    from nephi.fields import FieldSettings

    lung_ct(folder)
    settings = models.NephiSettings(
        field=FieldSettings(spacings=(96.0, 48.0)), encoder=models.EncoderSettings((4, 8, 8), pooled=2, features=8)
    )
    box = models.InputSettings((32, 24, 28), (12.0, 12.0, 12.0), (-1000.0, 200.0), mask="lungs", centre="mask")
    generator = torch.Generator().manual_seed(0)
    lungs = models.build_model(settings, models.input_grid(box), generator)
    with torch.no_grad():
        for name, parameter in lungs.named_parameters():
            if "decoder.last" in name:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    stored = nephi.models.StoredModel(lungs, box, nephi.settings.TrainingObjectiveSettings())
    nephi.models.write_model(stored, folder / "lungs.safetensors")


def published(folder: Path) -> None:
    """Write the files of `lung_ct`, and small networks of random weights with the names of published weight files."""
    from safetensors.torch import load_file

    lung_ct(folder)
    source = Path(__file__).parents[1] / "models" / "published"
    for stored, prefix, name in (
        ("gradicon-3d", "weights.", "Step_2_final.trch"),
        ("keymorph", "truncatedunet.weights.", "foundation-numkey256-numlevels4.pth.tar"),
        ("keymorph", "conv.weights.", "numkey512_tps0_dice.4760.h5"),
    ):
        tensors = load_file(source / f"{stored}.safetensors")
        weights = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        torch.save(weights, folder / name)
