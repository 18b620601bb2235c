"""KeyMorph: keypoints of each image alone, and the map that matches them in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.models.alignments import FITS, WEIGHTINGS, check_alignments, keypoint_maps, keypoint_splines, pair_weights
from nephi.models.base import ModelOutputs, ModelSettings, ModelSize, RegistrationModel
from nephi.models.networks.keypoints import KeypointNetwork, Keypoints, KeypointSettings, keypoint_network_size
from nephi.settings import TrainingObjectiveSettings
from nephi.settings.validation import require_one_of
from nephi.tables import short_repr
from nephi.transforms import MapPair
from nephi.transforms.spline import SOFTENING


@dataclass(frozen=True)
class KeyMorphSettings(KeypointSettings, ModelSettings):
    """Architecture of KeyMorph, as `KeypointSettings`, and the map that is predicted.

    align: `rigid`, `similarity`, `affine`, `halfway` (an affine map that is symmetric in both images), or `tps:0.1`: a
        thin-plate spline of that smoothing, 0 for an interpolating one. Any other map is available from the same model.
    random_smoothing: with a spline as `align`, two numbers between which the smoothing of each training pair is drawn,
        its logarithm uniform, so that the keypoints suit all of them; KeyMorph has 1e-6 and 10. Empty: that of `align`.
    weighting: `power`: a keypoint counts by the product of the sums of both heat maps; `equal`: all count the same.
    """

    kind: ClassVar[str] = "keymorph"
    table: ClassVar[str] = "model"

    align: str = "affine"
    weighting: str = "power"
    random_smoothing: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alignments("model.align", [self.align])
        require_one_of("model.weighting", self.weighting, WEIGHTINGS)
        bounds = self.random_smoothing
        if bounds and not (len(bounds) == 2 and 0 < bounds[0] <= bounds[1] < math.inf):
            raise UsageError(
                f"model.random_smoothing: expected two numbers above 0, low and high, got {short_repr(bounds)}"
            )
        if bounds and self.align in FITS:
            raise UsageError(f"model.random_smoothing: expected none for align = {self.align!r}, got {bounds}")


class KeyMorph(RegistrationModel[KeyMorphSettings]):
    """KeyMorph (Yu et al., MIDL 2022; Wang et al., 2023) and BrainMorph: registration by keypoints.

    One network finds K keypoints in each image alone; phi is the rigid, affine or spline map that matches them best,
    in closed form, so that any other map follows from the same keypoints and misalignments may be arbitrarily large.
    Rotations are rotations in mm of the model's box; with `extent = "image"`, whose axes have their own scales, not of
    the images. Exchanging the images inverts rigid, similarity and half-way maps exactly, affine
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
    generators: tuple[torch.Generator, ...] = ()
    softening: ClassVar[float] = SOFTENING
    """Added to squared distances between the keypoints of splines, see `spline_fit`."""

    def __init__(self, settings: KeyMorphSettings, grid: Grid, generator: torch.Generator) -> None:
        super().__init__(settings, grid, generator)
        self.network = KeypointNetwork(settings, grid, generator)

    @classmethod
    def outputs(cls, settings: KeyMorphSettings) -> ModelOutputs:
        """Return what the model predicts, with the number of its keypoints."""
        return super().outputs(settings)._replace(keypoints=settings.keypoints)

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict the map `settings.align`, and its inverse: exact, or the spline of the other direction."""
        if not (self.training and self.generators):
            return self.alignments(fixed, moving, [self.settings.align])[self.settings.align]
        pair = self._pair(fixed, moving)
        weights = pair_weights(self.settings.weighting, *pair)
        return keypoint_splines(self._random_smoothing().to(fixed.device), *pair, weights, self.grid, self.softening)

    def use_generators(self, generators: Sequence[torch.Generator]) -> None:
        """Draw the smoothing of each pair from its generator, for settings with `random_smoothing`."""
        self.generators = tuple(generators) if self.settings.random_smoothing else ()

    def keypoints(self, images: Tensor) -> Keypoints:
        """Find the keypoints of images."""
        keypoints: Keypoints = self.network(images)
        return keypoints

    def alignments(self, fixed: Tensor, moving: Tensor, names: Sequence[str]) -> dict[str, MapPair]:
        """Predict several maps from one pass of the network."""
        check_alignments("align", names)
        return self.keypoint_alignments(*self._pair(fixed, moving), names)

    def default_alignment(self) -> str:
        """Return the alignment of the settings."""
        return self.settings.align

    def keypoint_alignments(self, fixed: Keypoints, moving: Keypoints, names: Sequence[str]) -> dict[str, MapPair]:
        """Return several maps of pairs whose keypoints are known."""
        check_alignments("align", names)
        weights = pair_weights(self.settings.weighting, fixed, moving)
        return {name: keypoint_maps(name, fixed, moving, weights, self.grid, self.softening) for name in names}

    def _pair(self, fixed: Tensor, moving: Tensor) -> tuple[Keypoints, Keypoints]:
        """Return the keypoints of both images, from one pass of the network."""
        points, sums = self.keypoints(torch.cat([fixed, moving]))
        pairs = len(fixed)
        return Keypoints(points[:pairs], sums[:pairs]), Keypoints(points[pairs:], sums[pairs:])

    def _random_smoothing(self) -> Tensor:
        """Draw a smoothing for each pair, `(B,)`."""
        low, high = (math.log(bound) for bound in self.settings.random_smoothing)
        values = [torch.rand((), generator=generator, dtype=torch.float64) for generator in self.generators]
        return (low + (high - low) * torch.stack(values)).exp()

    @classmethod
    def size(cls, settings: KeyMorphSettings, grid: Grid) -> ModelSize:
        """Compute the sizes of the network, which gets both images at once, and of the map."""
        parameters, activations = keypoint_network_size(settings, grid)
        d = grid.dimension
        spline_parameters = 0 if settings.align in FITS else 2 * d * settings.keypoints
        return ModelSize(parameters, 2 * activations, d * (d + 1) + spline_parameters)
