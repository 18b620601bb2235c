"""Any folder like BIDS: `sub-01[/ses-2]/anat/sub-01_ses-2_T1w.nii.gz`, with masks and labels also in `derivatives/`.

bids-specification.readthedocs.io: names are `key-value` entities joined by `_`, then a suffix. A brain mask is
`..._desc-brain_mask`, a label map `..._dseg`. One belongs to the image whose entities it repeats, all or some of them;
entities that the image lacks (`space-MNI152`: another world) rule it out, but for `desc`, `label` and `hemi`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import click

import nephi

from .layout import DatasetFolder, lung_mask
from .options import FILE, masks_option, output_options, speaker

SUFFIXES = (".nii.gz", ".nii")
ABOUT_THE_MASK = {"desc", "label", "hemi"}


@click.command(short_help="Any folder like BIDS, with masks and labels in derivatives.")
@click.argument("raw", type=FILE)
@output_options
@masks_option
@click.option(
    "--suffix", "suffixes", multiple=True, default=("T1w",), show_default=True, help="Images: T1w, T2w, ct ..."
)
@click.option("--mask-desc", default="brain", show_default=True, help="Masks are those with _desc-THIS_mask.")
@click.option("--derivative", help="Take masks and labels from derivatives/THIS alone, when several have them.")
@click.option(
    "--pairs",
    type=click.Choice(["within-subjects", "between-subjects"]),
    default="between-subjects",
    show_default=True,
    help="Pair images of one subject (sessions, contrasts), or of different subjects.",
)
@click.option("--val", type=click.FloatRange(0, 1), default=0.0, help="Share of the subjects to validate with.")
@click.option("--test", type=click.FloatRange(0, 1), default=0.0, help="Share of the subjects to test with.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which subjects those are.")
@click.option("--name", help="What to call the data set.  [default: the folder's name]")
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
    """Prepare a data set from RAW, a folder like BIDS.

    \b
    python -m data_scripts bids raw/ds000001 -o datasets/heads --suffix T1w --val 0.1 --test 0.2

    Lungs are found in images with the suffix ct that have no mask.
    """
    names = scan(raw)
    images = [each for each in names if each.suffix in suffixes and not each.derived]
    if not images:
        raise nephi.DataError(
            f"{raw}: no image named sub-*_{'|'.join(suffixes)}.nii[.gz] in sub-*/[ses-*/]*/; is it the folder "
            "that holds sub-*, and is --suffix right?"
        )
    _require_one_each(raw, images)
    subjects = sorted({image.subject for image in images})
    parts = split_subjects(subjects, val, test, seed)
    splits = {split: nephi.datasets.DatasetSplit(tuple(part), pairs) for split, part in parts.items()}
    name = name or raw.resolve().name
    recipe = {"command": "bids", "name": name, "masks": masks, "mask_desc": mask_desc, "derivative": derivative}
    folder = DatasetFolder(output, recipe, overwrite, speaker(quiet))
    companions = [each for each in names if not each.derived or derivative in (None, each.pipeline)]
    for image in images:
        _add(image, companions, folder, mask_desc, masks)
    try:
        index = folder.index(name, splits, nephi.datasets.DatasetSource())
    except nephi.DataError as error:
        raise nephi.UsageError(f"--pairs {pairs} --val {val:g} --test {test:g}: {error}") from None
    folder.write(index)


@dataclass(frozen=True)
class BidsName:
    """A file by its name: entities, suffix, and the pipeline whose derivative it is ("" for raw data)."""

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
        """The whole name without the ending, `sub-01_ses-2_T1w`."""
        return "_".join([*(f"{key}-{value}" for key, value in self.entities), self.suffix])


def scan(raw: Path) -> list[BidsName]:
    """Return every NIfTI file of the subjects and derivatives in `raw` that has a name of BIDS, sorted.

    What else may lie there (`sourcedata`, `code`, a release before conversion) is none of the data set.
    """
    if not raw.is_dir():
        raise nephi.DataError(f"{raw}: no such folder")
    paths = sorted(path for top in (*raw.glob("sub-*"), raw / "derivatives") for path in top.rglob("sub-*"))
    found = [parse(path, raw) for path in paths if path.name.endswith(SUFFIXES) and path.is_file()]
    return [name for name in found if name]


def _require_one_each(raw: Path, images: list[BidsName]) -> None:
    seen: dict[str, BidsName] = {}
    for image in images:
        if (other := seen.setdefault(image.id, image)) is not image:
            raise nephi.DataError(
                f"{raw}: two images {image.id}, {other.path} and {image.path}; leave one of them there"
            )


def parse(path: Path, raw: Path) -> BidsName | None:
    """Return what a name says, None when it is none of BIDS."""
    *parts, suffix = path.name.removesuffix(".gz").removesuffix(".nii").split("_")
    entities = tuple((key, value) for key, _, value in (part.partition("-") for part in parts))
    if not entities or entities[0][0] != "sub" or not all(value for _, value in entities):
        return None
    folders = path.relative_to(raw).parts
    derived = folders[0] == "derivatives"
    pipeline = folders[1] if derived and not folders[1].startswith("sub-") else ""
    return BidsName(path, entities, suffix, pipeline, derived)


def companion(image: BidsName, names: list[BidsName], suffix: str, desc: str | None) -> BidsName | None:
    """Return the mask or label map of an image: the one that repeats most of its entities, some of them at least."""
    own = set(image.entities)
    fitting = [
        (len(own & set(name.entities)), name)
        for name in names
        if name.suffix == suffix
        and (desc is None or ("desc", desc) in name.entities)
        and {e for e in name.entities if e[0] not in ABOUT_THE_MASK} <= own
        and image.entities[0] in name.entities
    ]
    best = max((score for score, _ in fitting), default=0)
    found = [name for score, name in fitting if score == best]
    if len(found) > 1:
        raise nephi.DataError(
            f"{image.path}: two files fit as its {suffix}, {found[0].path} and {found[1].path}; choose with "
            "--derivative or --mask-desc"
        )
    return found[0] if found else None


def _add(image: BidsName, names: list[BidsName], folder: DatasetFolder, mask_desc: str, find: bool) -> None:
    mask = companion(image, names, "mask", mask_desc)
    labels = companion(image, names, "dseg", None)
    lungs = lung_mask if find and image.suffix == "ct" else None
    folder.add_image(
        image.id,
        image.subject,
        lambda: nephi.read_image(image.path),
        (lambda _: nephi.read_image(mask.path)) if mask else lungs,
        (lambda _: nephi.read_image(labels.path)) if labels else None,
        image.suffix,
    )


def split_subjects(subjects: list[str], val: float, test: float, seed: int) -> dict[str, list[str]]:
    """Return which subjects are in which split, by lot; shares are rounded, and one above 0 gets at least one."""
    # By lot, but each for itself: a subject that is added leaves the order of the others as it was.
    order = sorted(subjects, key=lambda subject: hashlib.sha256(f"{seed}:{subject}".encode()).digest())
    counts = {"val": _count(val, len(order)), "test": _count(test, len(order))}
    if sum(counts.values()) > len(order):
        raise nephi.UsageError(f"--val {val:g} --test {test:g}: more than the {len(order)} subjects there are")
    ends = (counts["val"], counts["val"] + counts["test"])
    parts = {"train": order[ends[1] :], "val": order[: ends[0]], "test": order[ends[0] : ends[1]]}
    return {name: sorted(part) for name, part in parts.items() if part}


def _count(share: float, total: int) -> int:
    return max(1, round(share * total)) if share > 0 else 0
