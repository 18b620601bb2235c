"""The terms of the loss by which landmarks and labels guide a registration."""

from __future__ import annotations

from nephi.objective import Guide, LabelGuide, LandmarkGuide
from nephi.preparation import Pair
from nephi.settings import GuidanceSettings


def pair_guides(pair: Pair, settings: GuidanceSettings) -> list[Guide]:
    """Return the guides of a pair, on the device of its images; none for a pair without landmarks and labels."""
    guides: list[Guide] = []
    device = pair.fixed.data.device
    if (landmarks := pair.guidance.landmarks) is not None:
        fixed, moving = (side.coordinates.float().to(device) for side in (landmarks.fixed, landmarks.moving))
        guides.append(LandmarkGuide(fixed, moving, settings.landmarks, pair.landmark_accuracy(settings)))
    if pair.guidance.labels is not None:
        guides.append(LabelGuide(*pair.guidance.labels, settings))
    return guides
