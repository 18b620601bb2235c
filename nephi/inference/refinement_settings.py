"""What is refined after a prediction, and by how many steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nephi.argument_types import checked_fields
from nephi.errors import UsageError
from nephi.losses import similarity_factors

REFINED_PARAMETERS = ("codes", "all", "network")
NETWORK_RATE = 2e-5  # of the published instance optimisations


@checked_fields
@dataclass(frozen=True)
class Refinement:
    """Steps of instance optimisation after, or for `network` before, the prediction.

    steps: number of steps; 0 keeps the prediction.
    parameters: `codes` and `all` continue with steps of the ordinary fit, by the objective of the settings; `codes`:
        only the latent values that a model predicts for a pair (latent codes and feature grids), with fixed decoders;
        `all`: the decoders as well, for predictions of any model (see `refines_single_field`). `network`: all weights
        of a copy of the model, by the objective of its training on the model's inputs, before its prediction is used.
    rate: step size of Adam for `network`.
    similarity: for `network` another similarity than that of the training, for example `mind` for images of different
        modalities, as in `objective.similarity`; "" keeps it.
    """

    steps: int = 0
    parameters: str = "all"
    rate: float = NETWORK_RATE
    similarity: str = ""

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise UsageError(f"refine: expected 0 steps or more, got {self.steps}")
        if self.parameters not in REFINED_PARAMETERS:
            raise UsageError(
                f"refine_parameters: expected one of {', '.join(REFINED_PARAMETERS)}, got {self.parameters!r}"
            )
        if not 0 < self.rate <= 1:
            raise UsageError(f"refine_rate: expected a number above 0, at most 1, got {self.rate}")
        if self.parameters != "network" and self.rate != NETWORK_RATE:
            raise UsageError(
                f'refine_rate: only for refine_parameters = "network", got {self.rate} for "{self.parameters}", whose '
                "step size is optimization.rate of the settings"
            )
        if self.similarity and self.parameters != "network":
            raise UsageError(
                f'refine_similarity: only for refine_parameters = "network", got {self.similarity} for '
                f'"{self.parameters}", whose similarity is objective.similarity of the settings'
            )
        if self.similarity:
            similarity_factors(self.similarity)

    @property
    def fits_fields(self) -> bool:
        """Whether steps of the ordinary fit follow the prediction."""
        return self.steps > 0 and self.parameters != "network"

    @property
    def optimizes_network(self) -> bool:
        """Whether weights of the model are optimised before the prediction."""
        return self.steps > 0 and self.parameters == "network"

    def table(self) -> dict[str, Any]:
        """Return the refinement as reports and `.nephi` files hold it: `rate` and `similarity` for `network` only."""
        rate = {"rate": self.rate} if self.parameters == "network" else {}
        similarity = {"similarity": self.similarity} if self.similarity else {}
        return {"steps": self.steps, "parameters": self.parameters, **rate, **similarity}
