"""Many pairs: the index of a data set, networks that predict a deformation, and what they are trained with."""

from nephi.learning.code_book import CodeBook
from nephi.learning.encoder import EncoderSettings, Lattice, PairEncoder
from nephi.learning.index import (
    DatasetImage,
    DatasetIndex,
    DatasetPair,
    DatasetSource,
    DatasetSplit,
)
from nephi.learning.index_file import read_dataset_index, write_dataset_index
from nephi.learning.lookup import look_up
from nephi.learning.model import SYSTEMS, ModelSettings, System, build_system
from nephi.learning.nephi_network import NephiNetwork
from nephi.learning.objectives import FieldObjective, ObjectiveSettings, PairBatch, dense_jacobian, displacement_terms
from nephi.learning.steps import Chain, NephiSteps
from nephi.learning.unet import DisplacementBatch, DisplacementUNet, UNetSettings

__all__ = [
    "SYSTEMS",
    "Chain",
    "CodeBook",
    "DatasetImage",
    "DatasetIndex",
    "DatasetPair",
    "DatasetSource",
    "DatasetSplit",
    "DisplacementBatch",
    "DisplacementUNet",
    "EncoderSettings",
    "FieldObjective",
    "Lattice",
    "ModelSettings",
    "NephiNetwork",
    "NephiSteps",
    "ObjectiveSettings",
    "PairBatch",
    "PairEncoder",
    "System",
    "UNetSettings",
    "build_system",
    "dense_jacobian",
    "displacement_terms",
    "look_up",
    "read_dataset_index",
    "write_dataset_index",
]
