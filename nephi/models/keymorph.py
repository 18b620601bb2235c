"""KeyMorph: keypoints of each image alone, and the map that matches them in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from nephi.geometry import Grid
from nephi.models.alignments import FITS, WEIGHTINGS, check_alignments, keypoint_maps, pair_weights
from nephi.models.base import ModelSettings, ModelSize, RegistrationModel
from nephi.models.networks.keypoints import KeypointNetwork, Keypoints, KeypointSettings, keypoint_network_size
from nephi.settings import TrainingObjectiveSettings
from nephi.settings.validation import require_one_of
from nephi.transforms import MapPair
from nephi.transforms.spline import SOFTENING


@dataclass(frozen=True)
class KeyMorphSettings(KeypointSettings, ModelSettings):
    """Architecture of KeyMorph, as `KeypointSettings`, and the map that is predicted.

    align: `rigid`, `similarity`, `affine`, `halfway` (an affine map that is symmetric in both images), or `tps:0.1`: a
        thin-plate spline of that smoothing, 0 for an interpolating one. Any other map is available from the same model.
    weighting: `power`: a keypoint counts by the product of the sums of both heat maps; `equal`: all count the same.
    """

    kind: ClassVar[str] = "keymorph"
    table: ClassVar[str] = "model"

    align: str = "affine"
    weighting: str = "power"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alignments("model.align", [self.align])
        require_one_of("model.weighting", self.weighting, WEIGHTINGS)


class KeyMorph(RegistrationModel[KeyMorphSettings]):
    """KeyMorph (Evan Yu et al., MIDL 2022; Wang et al., 2023) and BrainMorph: registration by keypoints.

    One network finds K keypoints in each image alone; phi is the rigid, affine or spline map that matches them best,
    in closed form, so that any other map follows from the same keypoints and misalignments may be arbitrarily large.
    Rotations are rotations in mm. Exchanging the images inverts rigid, similarity and half-way maps exactly, affine
    ones as far as keypoints match; splines are inverted numerically.

    A fresh model does not predict the identity: its keypoints are those of an untrained network, different in
    different images. Equal images give the identity, at any time.
    """

    Settings = KeyMorphSettings
    default_objective = TrainingObjectiveSettings(similarity="mse", gradicon=0.0, codes=0.0)
    predicts_inverse = True
    starts_as_identity = False
    finds_keypoints = True
    network: nn.Module
    softening: ClassVar[float] = SOFTENING
    """Added to squared distances between the keypoints of splines, see `spline_fit`."""

    def __init__(self, settings: KeyMorphSettings, grid: Grid, generator: torch.Generator) -> None:
        super().__init__(settings, grid, generator)
        self.network = KeypointNetwork(settings, grid, generator)

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict the map `settings.align`, and its inverse: exact, or the spline of the other direction."""
        return self.alignments(fixed, moving, [self.settings.align])[self.settings.align]

    def keypoints(self, images: Tensor) -> Keypoints:
        """Find the keypoints of images."""
        keypoints: Keypoints = self.network(images)
        return keypoints

    def alignments(self, fixed: Tensor, moving: Tensor, names: Sequence[str]) -> dict[str, MapPair]:
        """Predict several maps from one pass of the network."""
        check_alignments("align", names)
        points, sums = self.keypoints(torch.cat([fixed, moving]))
        pairs = len(fixed)
        fixed_keypoints = Keypoints(points[:pairs], sums[:pairs])
        return self.keypoint_alignments(fixed_keypoints, Keypoints(points[pairs:], sums[pairs:]), names)

    def default_alignment(self) -> str:
        """Return the alignment of the settings."""
        return self.settings.align

    def keypoint_alignments(self, fixed: Keypoints, moving: Keypoints, names: Sequence[str]) -> dict[str, MapPair]:
        """Return several maps of pairs whose keypoints are known."""
        check_alignments("align", names)
        weights = pair_weights(self.settings.weighting, fixed, moving)
        return {name: keypoint_maps(name, fixed, moving, weights, self.grid, self.softening) for name in names}

    @classmethod
    def size(cls, settings: KeyMorphSettings, grid: Grid) -> ModelSize:
        """Compute the sizes of the network, which gets both images at once, and of the map."""
        parameters, activations = keypoint_network_size(settings, grid)
        d = grid.dimension
        spline_parameters = 0 if settings.align in FITS else 2 * d * settings.keypoints
        return ModelSize(parameters, 2 * activations, d * (d + 1) + spline_parameters)
