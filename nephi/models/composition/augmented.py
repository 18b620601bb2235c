"""Random maps of both images around a network, during its training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nephi.models.base import PairNetwork
from nephi.models.composition.rotations import warp_images
from nephi.transforms import AffineMaps, ComposedMaps, MapPair

RandomMaps = Callable[[Sequence[torch.Generator]], AffineMaps]


class Augmented(PairNetwork):
    """`phi = M o N[A o M, B o R^-1] o R` with random maps M and R in a training, N itself otherwise.

    The map is the same for any M and R if the network N is equivariant ([W, U]: CARL, Greer et al., CVPR 2025). As the
    random maps are part of the prediction, a loss compares the original images and penalises a deformation without
    them; and where the inverse is another prediction (`Swapped`), inverse consistency rewards equivariance.

    `draw` returns a random map for each of its generators. Without `generators` for a prediction in training mode, N is
    evaluated as it is; images are 0 outside.
    """

    def __init__(self, network: PairNetwork, draw: RandomMaps) -> None:
        super().__init__()
        self.grid = network.grid
        self.network = network
        self.draw = draw
        self.generators: tuple[torch.Generator, ...] = ()

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict phi and its inverse; `generators` belong to the pairs, in their order, over and over."""
        if not self.training or not self.generators:
            plain: MapPair = self.network(fixed, moving, pair_ids)
            return plain
        generators = self.generators * (len(fixed) // len(self.generators))
        m, r = (self.draw(generators).to(fixed) for _ in range(2))
        images = warp_images(fixed, self.grid, r.inverse()), warp_images(moving, self.grid, m)
        prediction: MapPair = self.network(*images, pair_ids)
        inverse = prediction.inverse
        if inverse is not None:
            inverse = ComposedMaps([m.inverse(), inverse, r.inverse()])
        return MapPair(ComposedMaps([r, prediction.forward, m]), inverse, prediction.penalties)

    def use_steps(self, count: int, frozen: int = 0) -> None:
        """Use only the first steps of the network."""
        self.network.use_steps(count, frozen)
