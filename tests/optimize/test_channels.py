"""Registrations of two channels that show other parts."""

from pathlib import Path

import pytest

from nephi.metrics import landmark_errors
from nephi.optimize import plan, register
from nephi.phantoms import PhantomPair, two_channels
from nephi.settings import Settings


@pytest.fixture(scope="module")
def channels(shapes: PhantomPair) -> tuple[PhantomPair, PhantomPair]:
    return two_channels(shapes, 40.0, 0)


def test_both_are_better_than_the_better_one(
    channels: tuple[PhantomPair, PhantomPair], quick: Settings, tmp_path: Path
) -> None:
    one, other = channels
    both = {"fixed": [one.fixed, other.fixed], "moving": [one.moving, other.moving]}
    runs = [{"fixed": each.fixed, "moving": each.moving} for each in channels] + [both]
    results = [register(**images, settings=quick) for images in runs]
    errors = [float(landmark_errors(result.transform, one.landmarks).after.mean()) for result in results]
    assert errors[2] < 0.8 * min(errors[:2])
    report = results[2].save(tmp_path / "both", outputs=["report"])
    assert [channel["similarity"] for channel in report["channels"]] == ["lncc2", "lncc2"]
    assert "channels" not in results[0].save(tmp_path / "one", outputs=["report"])


def test_plan_lists_the_channels(channels: tuple[PhantomPair, PhantomPair], brief: Settings) -> None:
    one, other = channels
    planned = plan([one.fixed, other.fixed], [one.moving, other.moving], settings=brief)
    (channel,) = planned.guidance.channels
    assert channel.similarity == "lncc2" and channel.fixed.grid.shape == other.fixed.grid.shape
