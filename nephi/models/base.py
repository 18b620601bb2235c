"""The interface of registration models: networks that predict a deformation, and its inverse, for pairs of images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.models.networks.keypoints import Keypoints
from nephi.settings import TrainingObjectiveSettings
from nephi.transforms import MapPair


@dataclass(frozen=True)
class ModelSettings:
    """Architecture of a model; `kind` is the value of `model.kind` in a TOML file that selects it."""

    kind: ClassVar[str]
    per_step: ClassVar[tuple[str, ...]] = ()
    """The names of settings that are lists with one item for each composed step, the first step first."""

    @property
    def step_count(self) -> int:
        """Number of composed steps; 1 for a model that is not composed of steps."""
        return len(getattr(self, self.per_step[0])) if self.per_step else 1

    def first_steps(self, count: int) -> Self:
        """Return the settings of the model that consists of the first `count` steps of this one, or of all of them.

        Its weights have the names and shapes that they have in this model.
        """
        return replace(self, **{name: getattr(self, name)[:count] for name in self.per_step})

    def with_pairs(self, count: int) -> Self:
        """Return the settings for a training on `count` pairs, 0 where their number is unknown.

        Only models with parameters for single training pairs depend on it. Raises `UsageError` for settings that name
        another number.
        """
        return self


@dataclass(frozen=True)
class ModelSize:
    """Sizes of a model, known before anything is allocated.

    parameters: of the weights that are trained and stored.
    activation_bytes: memory of one prediction beyond weights and images, estimated.
    transform_parameters: numbers of which the transform of one pair consists.
    lattices: nodes of the latent grids of that transform, coarse to fine; empty for transforms without latent grids.
    """

    parameters: int
    activation_bytes: int
    transform_parameters: int
    lattices: tuple[tuple[int, ...], ...] = ()


class ModelOutputs(NamedTuple):
    """What a model predicts besides phi: whether an inverse map, the names of penalties, the number of keypoints."""

    inverse: bool
    penalties: tuple[str, ...]
    keypoints: int = 0


class PairNetwork(nn.Module, ABC):
    """Predicts deformations from pairs of images on `grid`: a whole model, or one of its steps."""

    grid: Grid

    @abstractmethod
    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict phi (fixed to moving points) and, if the network has one, its inverse (moving to fixed points).

        `fixed` and `moving` are images `(B, 1, *shape)` on `grid`, values from 0 to 1; points of the maps are
        `(B, N, D)`, world mm of `grid`. `pair_ids` `(B,)`, int64, are the pairs' numbers in the training split, None
        for pairs that are not of the training.
        """

    def use_steps(self, count: int, frozen: int = 0) -> None:
        """Use only the first `count` composed steps, all of them for 0, and train those after the first `frozen`.

        Steps not in use are the identity, as all are in a fresh network. A model or combinator that contains composed
        steps passes the call on to them. Raises `UsageError` for more steps than there are, and without any.
        """
        for name, value in (("network_steps", count), ("frozen_steps", frozen)):
            if value:
                raise UsageError(
                    f"{name}: expected 0 for {type(self).__name__}, which has no composed steps, got {value}"
                )


S = TypeVar("S", bound=ModelSettings)


class RegistrationModel(PairNetwork, Generic[S]):
    """A trainable registration. A new model is one file with a subclass, and one line in `nephi.models.MODELS`.

    A fresh model predicts the identity, unless `starts_as_identity` is false. The prediction of a pair does not depend
    on the other pairs of a batch, so that batches can be shared out over processes. Parameters with `requires_grad` are
    trained.
    """

    Settings: ClassVar[type[ModelSettings]]
    """The model's settings, a frozen subclass of `ModelSettings`."""
    default_objective: ClassVar[TrainingObjectiveSettings]
    """The objective of a training, as far as its TOML does not name other values."""
    predicts_inverse: ClassVar[bool]
    """Whether predictions have an inverse map."""
    penalties: ClassVar[tuple[str, ...]] = ()
    """The names of the penalties in predictions, as in `MapPair.penalties`."""
    starts_as_identity: ClassVar[bool] = True
    """Whether a fresh model predicts the identity; the docstring of a model that does not states why."""
    finds_keypoints: ClassVar[bool] = False
    """Whether the model registers by keypoints of each image alone, from which other maps follow."""
    outside: float = 0.0
    """Value of the images beyond their border, 0 or 1; 1 for an input whose surroundings are bright."""

    def __init__(self, settings: S, grid: Grid, generator: torch.Generator) -> None:
        """Build an untrained model for images on `grid`; all weights are drawn from `generator`."""
        super().__init__()
        self.settings = settings
        self.grid = grid

    @classmethod
    @abstractmethod
    def size(cls, settings: S, grid: Grid) -> ModelSize:
        """Compute the sizes of the model of `settings` for images on `grid`, without allocating anything."""

    @classmethod
    def outputs(cls, settings: S) -> ModelOutputs:
        """Return what a model of `settings` predicts: the values of the class, unless the settings change them."""
        return ModelOutputs(cls.predicts_inverse, cls.penalties)

    def predicted_parameters(self) -> frozenset[str]:
        """Return the names, in `state_dict()`, of values that `forward` predicts for each pair: they are not stored."""
        return frozenset()

    def pair_parameters(self) -> frozenset[str]:
        """Return the names, in `state_dict()`, of values that belong to single training pairs.

        A training of such a model needs the images of a pair as they are, and fine-tuning on other pairs starts these
        values afresh.
        """
        return frozenset()

    def use_generators(self, generators: Sequence[torch.Generator]) -> None:
        """Take the random numbers of the following predictions in training mode from `generators`, one for each pair.

        Models that predict without random numbers ignore them.
        """

    def keypoints(self, images: Tensor) -> Keypoints | None:
        """Return the keypoints of images `(B, 1, *shape)` on `grid`, each image alone; None for models without any."""
        return None

    def alignments(self, fixed: Tensor, moving: Tensor, names: Sequence[str]) -> dict[str, MapPair]:
        """Predict several maps of the same pairs at once, by their names in `nephi.models.check_alignments`.

        Arguments are those of `forward`. Raises `UsageError` for an unknown name, and for models without keypoints.
        """
        raise self._keypoints_required("align")

    def keypoint_alignments(self, fixed: Keypoints, moving: Keypoints, names: Sequence[str]) -> dict[str, MapPair]:
        """Return the maps of `alignments` for pairs whose keypoints are known, as found by `keypoints`; its errors."""
        raise self._keypoints_required("align")

    def default_alignment(self) -> str:
        """Return the alignment that `forward` predicts; raise `UsageError` for models without keypoints."""
        raise self._keypoints_required("align")

    def require_keypoints(self, name: str) -> None:
        """Raise `UsageError` for models without keypoints; `name` is that of the argument that needs them."""
        if not self.finds_keypoints:
            raise self._keypoints_required(name)

    def _keypoints_required(self, name: str) -> UsageError:
        return UsageError(f'{name}: expected a model with keypoints, got kind = "{self.settings.kind}"')
