"""The registrations on which the verdict is calibrated and tested: 40 right ones and 40 wrong ones, and 20 + 20 unseen.

Cases are independent. The thresholds were chosen on every second one of a kind, the part `calibration`; the others are
its `test`. The measure itself was developed with both in view; the `unseen` cases were added when all was fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from quality_jobs import (
    Job,
    brains,
    cut,
    few_steps,
    lung_ct,
    lungs,
    mirrored,
    moved,
    named,
    only_affine,
    other_organ,
    other_patient,
    phantom,
    shapes,
    stains,
    turned,
)

from nephi.phantoms import (
    local_motion_phantom,
    sliding_phantom,
)

PARTS = ("calibration", "test", "unseen")


@dataclass(frozen=True, eq=False)
class Case:
    """One registration: its kind, whether it is right, its part of the calibration, and how it is made."""

    kind: str
    label: str
    right: bool
    part: str
    make: Callable[[], Job] = field(repr=False)

    @property
    def name(self) -> str:
        """Name of the case, on the screen and in the work folder."""
        return f"{'right' if self.right else 'wrong'}-{self.kind}-{self.label}".replace(" ", "_")


def all_cases(data: Path) -> list[Case]:
    """Return all cases; `data` is the folder of the real pairs."""
    cases = []
    for right, kinds in ((True, _right(data)), (False, _wrong(data))):
        for kind, jobs in kinds:
            cases += [
                Case(kind, label, right, PARTS[number % 2], make) for number, (label, make) in enumerate(jobs.items())
            ]
    for right, kinds in ((True, _unseen_right(data)), (False, _unseen_wrong(data))):
        cases += [Case(kind, label, right, PARTS[2], make) for kind, jobs in kinds for label, make in jobs.items()]
    return cases


Makers = dict[str, Callable[[], Job]]


def _right(data: Path) -> Iterator[tuple[str, Makers]]:
    yield (
        "breathing",
        {f"seed {s}": partial(phantom, lungs(s, 15.0 + 5 * (s % 3)), "lung-ct", s < 4) for s in range(6)},
    )
    yield "noise", {f"seed {s}": partial(phantom, lungs(s, 20.0, noise=60.0), "lung-ct", True) for s in (6, 7)}
    yield "shapes", {f"seed {s}": partial(phantom, shapes(s), "generic", False) for s in range(5)}
    yield "stains", {f"seed {s}": partial(phantom, stains(s, 30.0 * s), "multimodal", False) for s in range(6)}
    yield (
        "local motion",
        {f"seed {s}": partial(phantom, partial(local_motion_phantom, s), "ct", False) for s in (0, 1)},
    )
    yield "sliding", {f"seed {s}": partial(phantom, partial(sliding_phantom, s), "breathing", False) for s in (0, 1)}
    lung, brain = partial(lung_ct, data), partial(brains, data)
    yield (
        "lung_ct",
        {
            "masks": partial(lung, "lung-ct", True),
            "masks reversed": partial(lung, "lung-ct", True, reverse=True),
            "no masks": partial(lung, "lung-ct", False),
            "no masks reversed": partial(lung, "lung-ct", False, reverse=True),
            "moved 1": partial(moved, partial(lung, "lung-ct", True), 1),
            "moved 2": partial(moved, partial(lung, "lung-ct", False), 2),
            "generic": partial(lung, "generic", False),
            "generic reversed": partial(lung, "generic", False, reverse=True),
        },
    )
    yield (
        "brain_mri",
        {
            "forward": partial(brain, "brain-mri"),
            "reversed": partial(brain, "brain-mri", reverse=True),
            "moved 3": partial(moved, partial(brain, "brain-mri"), 3),
        },
    )
    yield (
        "brain contrast",
        {
            "forward": partial(brain, "multimodal", contrast=True),
            "reversed": partial(brain, "multimodal", contrast=True, reverse=True),
        },
    )
    yield (
        "liver_mr",
        {
            "forward": partial(named, data, "liver_mr", "breathing"),
            "reversed": partial(named, data, "liver_mr", "breathing", reverse=True),
        },
    )
    yield (
        "cord_mr",
        {
            "forward": partial(named, data, "cord_mr", "multimodal"),
            "reversed": partial(named, data, "cord_mr", "multimodal", reverse=True),
        },
    )


def _wrong(data: Path) -> Iterator[tuple[str, Makers]]:
    lung, brain = partial(lung_ct, data), partial(brains, data)
    liver = partial(named, data, "liver_mr", "breathing")
    yield (
        "other patient",
        {
            **{
                f"lungs {s}": partial(other_patient, lungs(s, 20.0), lungs(s + 10, 20.0), "lung-ct", s < 2)
                for s in range(4)
            },
            **{f"shapes {s}": partial(other_patient, shapes(s), shapes(s + 20), "generic", False) for s in range(2)},
            **{
                f"stains {s}": partial(other_patient, stains(s, 20.0), stains(s + 30, 20.0), "multimodal", False)
                for s in (0, 1)
            },
        },
    )
    real = {"lung": partial(lung, "generic", False), "brain": partial(brain, "generic"), "liver": liver}
    real["cord"] = partial(named, data, "cord_mr", "generic")
    pairs = [
        ("lung", "brain"),
        ("brain", "lung"),
        ("liver", "brain"),
        ("cord", "liver"),
        ("lung", "liver"),
        ("brain", "cord"),
    ]
    yield (
        "other organ",
        {
            **{
                f"{a} {b}": partial(other_organ, real[a], real[b], "multimodal" if n % 3 == 2 else "generic")
                for n, (a, b) in enumerate(pairs)
            },
            "stains shapes": partial(other_patient, stains(0, 0.0), shapes(0), "generic", False),
        },
    )
    yield (
        "mirrored",
        {
            "lung_ct": partial(mirrored, partial(lung, "lung-ct", True)),
            "lung_ct reversed": partial(mirrored, partial(lung, "lung-ct", False, reverse=True)),
            **{f"lungs {s}": partial(mirrored, partial(phantom, lungs(s, 20.0), "lung-ct", s == 0)) for s in (0, 1)},
            "brain": partial(mirrored, partial(brain, "brain-mri")),
            "liver": partial(mirrored, liver),
            **{
                f"stains {s}": partial(mirrored, partial(phantom, stains(s, 40.0), "multimodal", False)) for s in (0, 1)
            },
        },
    )
    yield (
        "wrong optimum",
        {
            "lung_ct": partial(turned, partial(lung, "lung-ct", True), (0, 1), 180.0),
            "lungs 0": partial(turned, partial(phantom, lungs(0, 20.0), "lung-ct", True), (0, 1), 180.0),
            "lungs 1": partial(turned, partial(phantom, lungs(1, 20.0), "lung-ct", False), (1, 2), 90.0),
            "brain": partial(turned, partial(brain, "brain-mri"), (0, 1), 180.0),
            "stains 3": partial(turned, partial(phantom, stains(3, 0.0), "multimodal", False), (0, 1), 120.0),
            "stains 4": partial(turned, partial(phantom, stains(4, 0.0), "multimodal", False), (0, 1), 180.0),
            "shapes 2": partial(turned, partial(phantom, shapes(2), "generic", False), (0, 1), 90.0),
        },
    )
    yield (
        "motion unsolved",
        {
            **{
                f"lungs affine {s}": partial(only_affine, partial(phantom, lungs(s, 25.0), "lung-ct", s == 0))
                for s in (0, 1)
            },
            "lungs few steps": partial(few_steps, partial(phantom, lungs(2, 25.0), "lung-ct", True)),
            "lung_ct affine": partial(only_affine, partial(lung, "lung-ct", True)),
            "local motion affine": partial(
                only_affine, partial(phantom, partial(local_motion_phantom, 0), "ct", False)
            ),
            "liver affine": partial(only_affine, liver),
        },
    )
    yield (
        "cut field",
        {
            "lungs 0": partial(cut, partial(phantom, lungs(0, 15.0), "lung-ct", True), 2),
            "lungs 1": partial(cut, partial(phantom, lungs(1, 15.0), "lung-ct", True), 0),
            "lung_ct": partial(cut, partial(lung, "lung-ct", True), 2),
            "stains 5": partial(cut, partial(phantom, stains(5, 30.0), "multimodal", True), 0),
        },
    )


def _unseen_right(data: Path) -> Iterator[tuple[str, Makers]]:
    yield (
        "breathing",
        {f"seed {s}": partial(phantom, lungs(s, 12.0 + 3 * (s - 100)), "lung-ct", s % 2 == 0) for s in range(100, 106)},
    )
    yield "shapes", {f"seed {s}": partial(phantom, shapes(s), "generic", False) for s in range(100, 104)}
    yield "stains", {f"seed {s}": partial(phantom, stains(s, 70.0), "multimodal", False) for s in range(100, 104)}
    yield (
        "local motion",
        {f"seed {s}": partial(phantom, partial(local_motion_phantom, s), "ct", False) for s in (100, 101)},
    )
    yield (
        "sliding",
        {f"seed {s}": partial(phantom, partial(sliding_phantom, s), "breathing", False) for s in (100, 101)},
    )
    lung = partial(lung_ct, data, "lung-ct")
    yield "lung_ct", {f"moved {s}": partial(moved, partial(lung, s == 11), s) for s in (11, 12)}


def _unseen_wrong(data: Path) -> Iterator[tuple[str, Makers]]:
    lung = partial(lung_ct, data, "lung-ct", True)
    liver, cord = (partial(named, data, *each) for each in (("liver_mr", "breathing"), ("cord_mr", "generic")))
    chests = {s: partial(phantom, lungs(s, 20.0), "lung-ct", True) for s in range(102, 106)}
    pictures = {s: partial(phantom, shapes(s), "generic", True) for s in range(101, 104)}
    yield (
        "other patient",
        {
            **{
                f"lungs {s}": partial(other_patient, lungs(s, 20.0), lungs(s + 10, 20.0), "lung-ct", True)
                for s in (100, 101)
            },
            "stains 100": partial(other_patient, stains(100, 20.0), stains(130, 20.0), "multimodal", False),
            "shapes 100": partial(other_patient, shapes(100), shapes(120), "generic", False),
        },
    )
    yield (
        "other organ",
        {
            "liver lung": partial(other_organ, liver, lung, "multimodal"),
            "cord brain": partial(other_organ, cord, partial(brains, data, "generic"), "generic"),
        },
    )
    yield (
        "mirrored",
        {
            "brain contrast": partial(mirrored, partial(brains, data, "multimodal", contrast=True)),
            "cord": partial(mirrored, cord),
            "lungs 102": partial(mirrored, chests[102]),
            "shapes 101": partial(mirrored, pictures[101]),
        },
    )
    yield (
        "wrong optimum",
        {
            "lung_ct on its side": partial(turned, lung, (1, 2), 90.0),
            "lungs 103": partial(turned, chests[103], (0, 2), 180.0),
            "stains 102": partial(turned, partial(phantom, stains(102, 0.0), "multimodal", False), (0, 1), 90.0),
            "liver": partial(turned, liver, (0, 1), 90.0),
        },
    )
    yield (
        "motion unsolved",
        {
            "lungs 104": partial(only_affine, chests[104]),
            "shapes 102": partial(only_affine, pictures[102]),
            "sliding 100": partial(only_affine, partial(phantom, partial(sliding_phantom, 100), "breathing", False)),
            "stains 101": partial(only_affine, partial(phantom, stains(101, 30.0), "multimodal", False)),
        },
    )
    yield "cut field", {"lungs 105": partial(cut, chests[105], 1), "shapes 103": partial(cut, pictures[103], 0)}
