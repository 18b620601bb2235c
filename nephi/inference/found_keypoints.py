"""Keypoints of the images of a prediction, refused where a model finds none."""

from __future__ import annotations

from typing import Any

import torch

from nephi.errors import DataError
from nephi.inference.inputs import PredictionInputs
from nephi.models import Keypoints, RegistrationModel


def pair_keypoints(
    network: RegistrationModel[Any], inputs: PredictionInputs, device: torch.device
) -> tuple[Keypoints, Keypoints] | None:
    """Return the keypoints of both images, from one pass of the network on `device`; None for models without any.

    Raises `DataError` naming the images if they have no keypoint in common: its map would only move their centres.
    """
    found = network.keypoints(torch.stack([each.values for each in inputs.model_inputs]).to(device))
    if found is None:
        return None
    fixed, moving = (Keypoints(*(part[k : k + 1] for part in found)) for k in (0, 1))
    require_keypoints(f"{inputs.pair.fixed.name} and {inputs.pair.moving.name}", fixed, moving)
    return fixed, moving


def require_keypoints(name: str, *sets: Keypoints) -> None:
    """Raise `DataError` with `name` unless one keypoint or more has a weight above 0 in each of the sets."""
    shown = torch.stack([each.weights > 0 for each in sets]).all(dim=0)
    if not bool(shown.any()):
        common = " in common" if len(sets) > 1 else ""
        raise DataError(f"{name}: expected keypoints{common}, the model found none; train the model again")
