"""Many pairs: the index of a data set, networks that predict a deformation, and what they are trained with."""

from nephi.learning.encoder import EncoderSettings, PairEncoder
from nephi.learning.index import (
    DatasetImage,
    DatasetIndex,
    DatasetPair,
    DatasetSource,
    DatasetSplit,
)
from nephi.learning.index_file import read_dataset_index, write_dataset_index
from nephi.learning.lookup import look_up
from nephi.learning.nephi_network import NephiNetwork
from nephi.learning.objectives import ObjectiveSettings, dense_jacobian, nephi_objective, unet_objective
from nephi.learning.steps import Chain, NephiSteps
from nephi.learning.unet import DisplacementUNet, UNetSettings

__all__ = [
    "Chain",
    "DatasetImage",
    "DatasetIndex",
    "DatasetPair",
    "DatasetSource",
    "DatasetSplit",
    "DisplacementUNet",
    "EncoderSettings",
    "NephiNetwork",
    "NephiSteps",
    "ObjectiveSettings",
    "PairEncoder",
    "UNetSettings",
    "dense_jacobian",
    "look_up",
    "nephi_objective",
    "read_dataset_index",
    "unet_objective",
    "write_dataset_index",
]
