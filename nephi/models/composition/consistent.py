"""Composition of several steps that keeps inverse consistency by construction."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nephi.errors import UsageError
from nephi.models.base import PairNetwork
from nephi.models.composition.steps import Steps
from nephi.transforms import ComposedMaps, MapPair, Maps, mean_penalties


class Consistent(Steps):
    """Networks one after the other, each but the last applied twice: `phi = s_1 o .. o s_n o .. o s_1`.

    TwoStepConsistent of ConstrICON (Greer et al., MICCAI 2023), for n steps nested to the right. A step moves both
    images half-way: from A and B it predicts `(s, s')`, and the steps after it see `A o s` and `B o s'`. If they
    predict `(g, g')`, the whole is `phi = s o g o s` and `inverse = s' o g' o s'`. Where s' is the inverse of s, and g'
    that of g, `phi o inverse` is the identity, whatever the networks predict; and where exchanging the images exchanges
    the maps of each step, it does so for the whole. `Steps` has neither property: its second step sees only one image
    warped.

    With only the first k steps in use (`use_steps`), the innermost map is the identity and all k steps are applied
    twice, `phi = s_1 o .. o s_k o s_k o .. o s_1`: the same property, and the map with which a training of the further
    steps, the identity at first, goes on. The last of the k cannot be applied only once instead, since a step after it
    would change its part of phi from s_k to its square.

    Arguments as for `Steps`; every step must predict an inverse.
    """

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict phi and its inverse; each penalty is the mean over the steps that have it, each of which counts once.

        Raises `UsageError` for a step that predicts no inverse.
        """
        forward: list[Maps] = []
        inverse: list[Maps] = []
        penalties = []
        for number, step in enumerate(self.steps[: self.used]):
            assert isinstance(step, PairNetwork)
            images = self.step_image(number, fixed, inverse), self.step_image(number, moving, forward)
            prediction: MapPair = step(*images, pair_ids)
            if prediction.inverse is None:
                raise UsageError(f"steps: expected networks that predict an inverse, got {type(step).__name__}")
            # The first of a list is applied first: the last step is the innermost.
            forward.insert(0, prediction.forward)
            inverse.insert(0, prediction.inverse)
            penalties.append(prediction.penalties)
        return MapPair(self._chain(forward), self._chain(inverse), mean_penalties(penalties))

    def _chain(self, maps: Sequence[Maps]) -> ComposedMaps:
        """Return the composition of maps `[s_k, .., s_1]`, each twice but the last step of all, `s_n`."""
        twice = maps[1:] if self.used == len(self.steps) else maps
        return ComposedMaps([*reversed(twice), *maps])
