"""Both directions from a network that predicts one."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.models.base import PairNetwork
from nephi.transforms import MapPair


class Swapped(PairNetwork):
    """phi is the network's prediction for the images, the inverse its prediction for the images exchanged.

    As in ICON (Greer et al., ICCV 2021) and GradICON (Tian et al., CVPR 2023): `forward = phi[A, B]` and
    `inverse = phi[B, A]`, A moving and B fixed; the two are each other's inverses only as far as a training makes them
    so. Both are computed in one pass over 2 B pairs, so layers must not mix the pairs of a batch. An inverse that
    `network` itself predicts is not used.
    """

    def __init__(self, network: PairNetwork) -> None:
        super().__init__()
        self.grid = network.grid
        self.network = network

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict phi and its inverse; penalties are means over both directions."""
        both_ids = None if pair_ids is None else torch.cat([pair_ids, pair_ids])
        prediction: MapPair = self.network(torch.cat([fixed, moving]), torch.cat([moving, fixed]), both_ids)
        maps, pairs = prediction.forward, len(fixed)
        return MapPair(maps.rows(slice(0, pairs)), maps.rows(slice(pairs, 2 * pairs)), prediction.penalties)

    def use_steps(self, count: int, frozen: int = 0) -> None:
        """Use only the first steps of the network."""
        self.network.use_steps(count, frozen)
