"""BIDS folders: `sub-01[/ses-2]/anat/sub-01_ses-2_T1w.nii.gz`, masks and labels also in `derivatives/`.

bids-specification.readthedocs.io: names are `key-value` entities joined by `_`, then a suffix. A brain mask is
`..._desc-brain_mask`, a label map `..._dseg`. It belongs to the image that has all of its entities; an entity that the
image lacks (`space-MNI152`: another space) excludes it, except `desc`, `label` and `hemi`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import click

import nephi

from .layout import DatasetFolder, lung_mask
from .options import FILE, masks_option, output_options, printer

SUFFIXES = (".nii.gz", ".nii")
MASK_ENTITIES = {"desc", "label", "hemi"}


@click.command(short_help="Any BIDS folder, with masks and labels in derivatives.")
@click.argument("raw", type=FILE)
@output_options
@masks_option
@click.option(
    "--suffix", "suffixes", multiple=True, default=("T1w",), show_default=True, help="Images to use: T1w, T2w, ct ..."
)
@click.option("--mask-desc", default="brain", show_default=True, metavar="DESC", help="Masks to use: *_desc-DESC_mask.")
@click.option("--derivative", metavar="NAME", help="Use masks and labels of derivatives/NAME only.")
@click.option(
    "--pairs",
    type=click.Choice(["within-subjects", "between-subjects"]),
    default="between-subjects",
    show_default=True,
    help="Pair images of one subject (sessions, contrasts), or of different subjects.",
)
@click.option("--val", type=click.FloatRange(0, 1), default=0.0, help="Fraction of the subjects for validation.")
@click.option("--test", type=click.FloatRange(0, 1), default=0.0, help="Fraction of the subjects for testing.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random split.")
@click.option("--name", help="Name of the data set.  [default: the folder's name]")
def bids(
    raw: Path,
    output: Path,
    overwrite: bool,
    quiet: bool,
    masks: bool,
    suffixes: tuple[str, ...],
    mask_desc: str,
    derivative: str | None,
    pairs: str,
    val: float,
    test: float,
    seed: int,
    name: str | None,
) -> None:
    """Prepare a data set from the BIDS folder RAW.

    \b
    python -m data_scripts bids raw/ds000001 -o datasets/heads --suffix T1w --val 0.1 --test 0.2

    Images with the suffix ct that have no mask get a mask of the lungs.
    """
    names = scan(raw)
    images = [name for name in names if name.suffix in suffixes and not name.derived]
    if not images:
        raise nephi.DataError(
            f"{raw}: expected images sub-*_{'|'.join(suffixes)}.nii[.gz] in sub-*/[ses-*/]*/, found none; give the "
            "folder that contains sub-*, and check --suffix"
        )
    _require_unique(raw, images)
    subjects = sorted({image.subject for image in images})
    parts = split_subjects(subjects, val, test, seed)
    splits = {split: nephi.datasets.DatasetSplit(tuple(part), pairs) for split, part in parts.items()}
    dataset_name = name or raw.resolve().name
    recipe = {"command": "bids", "name": dataset_name, "masks": masks, "mask_desc": mask_desc, "derivative": derivative}
    folder = DatasetFolder(output, recipe, overwrite, printer(quiet))
    companions = [candidate for candidate in names if not candidate.derived or derivative in (None, candidate.pipeline)]
    for image in images:
        _add_image(image, companions, folder, mask_desc, masks)
    try:
        index = folder.index(dataset_name, splits, nephi.datasets.DatasetSource())
    except nephi.DataError as error:
        raise nephi.UsageError(f"--pairs {pairs} --val {val:g} --test {test:g}: {error}") from None
    folder.write(index)


@dataclass(frozen=True)
class BidsName:
    """A file name's parts: entities, suffix, and the pipeline of a derivative ("" for raw data)."""

    path: Path
    entities: tuple[tuple[str, str], ...]
    suffix: str
    pipeline: str
    derived: bool

    @property
    def subject(self) -> str:
        """Label of the subject, `sub-01`."""
        return f"sub-{dict(self.entities)['sub']}"

    @property
    def id(self) -> str:
        """The name without its extension, `sub-01_ses-2_T1w`."""
        return "_".join([*(f"{key}-{value}" for key, value in self.entities), self.suffix])


def scan(raw: Path) -> list[BidsName]:
    """Return all NIfTI files with BIDS names below `sub-*` and `derivatives` in `raw`, sorted.

    Other folders (`sourcedata`, `code`, a release before conversion) are not part of the data set.
    """
    if not raw.is_dir():
        raise nephi.DataError(f"{raw}: no such folder")
    paths = sorted(path for top in (*raw.glob("sub-*"), raw / "derivatives") for path in top.rglob("sub-*"))
    parsed = [parse(path, raw) for path in paths if path.name.endswith(SUFFIXES) and path.is_file()]
    return [name for name in parsed if name]


def _require_unique(raw: Path, images: list[BidsName]) -> None:
    by_id: dict[str, BidsName] = {}
    for image in images:
        if (other := by_id.setdefault(image.id, image)) is not image:
            raise nephi.DataError(f"{raw}: two images {image.id}, {other.path} and {image.path}; keep one of them")


def parse(path: Path, raw: Path) -> BidsName | None:
    """Parse a file name; return None for names that do not follow BIDS."""
    *parts, suffix = path.name.removesuffix(".gz").removesuffix(".nii").split("_")
    entities = tuple((key, value) for key, _, value in (part.partition("-") for part in parts))
    if not entities or entities[0][0] != "sub" or not all(value for _, value in entities):
        return None
    folders = path.relative_to(raw).parts
    derived = folders[0] == "derivatives"
    pipeline = folders[1] if derived and not folders[1].startswith("sub-") else ""
    return BidsName(path, entities, suffix, pipeline, derived)


def companion(image: BidsName, names: list[BidsName], suffix: str, desc: str | None) -> BidsName | None:
    """Return the mask or label map that shares most entities with an image, the subject at least; None without any."""
    entities = set(image.entities)
    candidates = [
        (len(entities & set(name.entities)), name)
        for name in names
        if name.suffix == suffix
        and (desc is None or ("desc", desc) in name.entities)
        and {e for e in name.entities if e[0] not in MASK_ENTITIES} <= entities
        and image.entities[0] in name.entities
    ]
    most_shared = max((shared for shared, _ in candidates), default=0)
    best = [name for shared, name in candidates if shared == most_shared]
    if len(best) > 1:
        raise nephi.DataError(
            f"{image.path}: expected one {suffix} for it, found {best[0].path} and {best[1].path}; choose with "
            "--derivative or --mask-desc"
        )
    return best[0] if best else None


def _add_image(image: BidsName, names: list[BidsName], folder: DatasetFolder, mask_desc: str, find_lungs: bool) -> None:
    mask = companion(image, names, "mask", mask_desc)
    labels = companion(image, names, "dseg", None)
    lungs = lung_mask if find_lungs and image.suffix == "ct" else None
    folder.add_image(
        image.id,
        image.subject,
        lambda: nephi.read_image(image.path),
        (lambda _: nephi.read_image(mask.path)) if mask else lungs,
        (lambda _: nephi.read_image(labels.path)) if labels else None,
        image.suffix,
    )


def split_subjects(subjects: list[str], val: float, test: float, seed: int) -> dict[str, list[str]]:
    """Return the subjects of each split, drawn at random; a fraction above 0 yields at least one subject."""
    # Sorted by hashes instead of shuffled: the order of other subjects does not change when one is added.
    order = sorted(subjects, key=lambda subject: hashlib.sha256(f"{seed}:{subject}".encode()).digest())
    counts = {"val": _count(val, len(order)), "test": _count(test, len(order))}
    if sum(counts.values()) > len(order):
        raise nephi.UsageError(
            f"--val {val:g} --test {test:g}: expected at most all {len(order)} subjects, got {sum(counts.values())}"
        )
    ends = (counts["val"], counts["val"] + counts["test"])
    parts = {"train": order[ends[1] :], "val": order[: ends[0]], "test": order[ends[0] : ends[1]]}
    return {name: sorted(part) for name, part in parts.items() if part}


def _count(fraction: float, total: int) -> int:
    return max(1, round(fraction * total)) if fraction > 0 else 0
