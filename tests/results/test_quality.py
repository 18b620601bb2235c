"""The verdict on registrations: measured for phantoms with their true map and with others, judged by thresholds."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import pytest
import torch

from nephi.images import Image, Origin
from nephi.metrics import Lengths
from nephi.phantoms import PhantomPair, lung_phantom, shapes_phantom
from nephi.preparation import Pair, prepare_pair
from nephi.results import CHECK, FAILED, OK, JacobianRange, Measured, Measures, Quality
from nephi.results.quality import measure_pair
from nephi.results.verdict import judge
from nephi.settings import Settings, preset
from nephi.transforms import AffineTransform, Transform

SIZE = (54, 40, 44)


def prepared(pair: PhantomPair, name: str, masks: bool = True) -> tuple[Pair, Settings]:
    sides = (pair.fixed_mask, pair.moving_mask) if masks else (None, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return prepare_pair(pair.fixed, pair.moving, *sides, preset(name))


def quality(pair: PhantomPair, transform: Transform, name: str, masks: bool = True) -> Quality:
    images, settings = prepared(pair, name, masks)
    return judge(measure_pair(images, transform, settings, seed=0), images, settings)


def flipped(pair: PhantomPair) -> PhantomPair:
    moving, mask = (image.with_data(image.data.flip(0)) for image in (pair.moving, pair.moving_mask))
    return replace(pair, moving=moving, moving_mask=mask)


def test_the_true_map_of_a_phantom_is_ok_and_others_are_not() -> None:
    pair = lung_phantom(0, 25.0, shape=SIZE)
    right = quality(pair, pair.transform, "lung-ct")
    assert right.verdict == OK and right.reasons == () and str(right) == "ok"
    before, after = right.measured.before, right.measured.after
    assert after.matched > 0.8 and before.matched < 0.7
    assert after.similarity < before.similarity and after.information > before.information
    assert after.dice > before.dice and after.surface_mm < before.surface_mm
    assert right.measured.region == "masks" and right.measured.similarity == "lncc2"
    identity = AffineTransform.identity(3)
    unsolved = quality(pair, identity, "lung-ct")
    assert str(unsolved) == f"check: {'; '.join(unsolved.reasons)}"
    assert unsolved.verdict == CHECK and "unsolved motion" in unsolved.reasons[0]
    assert unsolved.measured.before == unsolved.measured.after
    assert quality(flipped(pair), pair.transform, "lung-ct").verdict == FAILED
    shifted = AffineTransform.translation(torch.tensor([0.0, 0.0, 90.0], dtype=torch.float64))
    beside = quality(pair, shifted, "lung-ct")
    assert beside.verdict == FAILED and beside.measured.after.outside > 0.2
    assert any("outside the moving image" in reason for reason in beside.reasons)


def test_two_dimensions_without_masks() -> None:
    pair = shapes_phantom(0, shape=(80, 72))
    right = quality(pair, pair.transform, "generic", masks=False)
    assert right.verdict == OK and right.measured.region == "foreground" and right.measured.after.dice > 0.98
    other = replace(pair, moving=shapes_phantom(5, shape=(80, 72)).moving)
    assert quality(other, pair.transform, "generic", masks=False).verdict != OK


def test_displacements_of_a_known_map() -> None:
    """A shift has no local part; its lengths and Jacobian are exact."""
    pair = shapes_phantom(0, shape=(80, 72))
    shift = AffineTransform.translation(torch.tensor([3.0, 4.0], dtype=torch.float64))
    measured = quality(pair, shift, "generic").measured
    assert vars(measured.displacement) == pytest.approx({"mean": 5.0, "p95": 5.0, "maximum": 5.0}, abs=1e-4)
    assert measured.local_displacement.maximum < 1e-4
    assert vars(measured.jacobian) == {"p1": 1.0, "p99": 1.0, "smallest": 1.0, "folding_percent": 0.0}


AGREEING = Measures(0.5, 0.9, 400, 0.8, 0.3, 0.02, 0.97, 0.5, 2.0)
LENGTHS = Lengths(5.0, 8.0, 10.0)
RIGHT = Measured("lncc2", "masks", AGREEING, AGREEING, LENGTHS, LENGTHS, JacobianRange(0.7, 1.4, 0.5, 0.0))


@pytest.fixture(scope="module")
def shapes() -> tuple[Pair, Settings]:
    return prepared(shapes_phantom(0, shape=(40, 36)), "generic")


def judged(shapes: tuple[Pair, Settings], measured: Measured, **settings: object) -> Quality:
    pair, used = shapes
    return judge(measured, pair, replace(used, **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "verdict", "words"),
    [
        ({"matched": 0.73}, OK, ""),
        ({"matched": 0.6}, CHECK, "60 % of the structures"),
        ({"matched": 0.7199}, CHECK, "71 % of the structures find their counterpart (usually above 72 %)"),
        ({"matched": 0.3499}, FAILED, "only 34 % of the structures find their counterpart (below 35 %"),
        ({"matched": 0.3}, FAILED, "only 30 % of the structures"),
        ({"patches": 10, "matched": 0.1}, CHECK, "too little structure"),
        ({"patches": 0, "matched": float("nan")}, CHECK, "too little structure"),
        ({"outside": 0.4}, CHECK, "40 % of the mask"),
        ({"dice": 0.5}, CHECK, "masks overlap by a Dice of 0.50"),
        ({"dice": float("nan")}, OK, ""),
    ],
)
def test_thresholds(shapes: tuple[Pair, Settings], change: dict[str, float], verdict: str, words: str) -> None:
    after = replace(AGREEING, **change)
    found = judged(shapes, replace(RIGHT, after=after, before=replace(AGREEING, matched=0.2)))
    assert found.verdict == verdict
    assert len(found.reasons) == (verdict != OK) and all(words in reason for reason in found.reasons)


def test_worse_than_before_is_failed(shapes: tuple[Pair, Settings]) -> None:
    found = judged(shapes, replace(RIGHT, after=replace(AGREEING, matched=0.78)))
    assert found.verdict == FAILED and "agreed better before: 90 %" in found.reasons[0]


def test_folds_and_unusual_volumes(shapes: tuple[Pair, Settings]) -> None:
    folded = judged(shapes, replace(RIGHT, jacobian=JacobianRange(0.05, 1.4, -0.2, 3.0)))
    assert folded.verdict == CHECK
    assert "folds at 3.0 %" in folded.reasons[0] and "factors of 0.05 to 1.40" in folded.reasons[1]


def test_different_contrasts_have_their_own_limit(shapes: tuple[Pair, Settings]) -> None:
    after = replace(AGREEING, matched=0.3)
    measured = replace(RIGHT, after=after, before=replace(AGREEING, matched=0.1))
    assert judged(shapes, measured).verdict == FAILED
    mind = replace(shapes[1].objective, similarity="mind", radius=2)
    assert judged(shapes, measured, objective=mind).verdict == CHECK


def test_headers_that_contradict_each_other(shapes: tuple[Pair, Settings]) -> None:
    pair, settings = shapes

    def verdict(fixed: Origin, moving: Origin, measured: Measured = RIGHT) -> Quality:
        images: list[Image] = [replace(i, origin=o) for i, o in ((pair.fixed, fixed), (pair.moving, moving))]
        return judge(measured, replace(pair, fixed=images[0], moving=images[1]), settings)

    same = Origin("P1", "CT", "1.2.3", "20260101")
    assert verdict(same, same).verdict == OK
    assert "different patients: P1 and P2" in verdict(same, replace(same, patient="P2")).reasons[0]
    assert "CT and MR" in verdict(same, replace(same, modality="MR")).reasons[0]
    far = replace(RIGHT, displacement=Lengths(150.0, 150.0, 150.0))
    assert "share a frame of reference" in verdict(same, same, far).reasons[0]
    assert verdict(same, replace(same, frame="1.2.4"), far).verdict == OK
    table = verdict(same, Origin()).table()
    assert table["origin"]["fixed"]["date"] == "20260101" and table["origin"]["moving"] == {}
    json.dumps(table, allow_nan=False)
