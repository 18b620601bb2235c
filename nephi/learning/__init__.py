"""Many pairs: the index of a data set, networks that predict a deformation, and what they are trained with."""

from nephi.learning.blending import blend
from nephi.learning.code_book import CodeBook
from nephi.learning.displacement_objective import dense_jacobian, displacement_terms
from nephi.learning.encoder import EncoderSettings, Lattice, PairEncoder
from nephi.learning.frame import FrameSettings, Seen, bring, frame_grid, frame_mask
from nephi.learning.index import (
    DatasetImage,
    DatasetIndex,
    DatasetPair,
    DatasetSource,
    DatasetSplit,
)
from nephi.learning.index_file import read_dataset_index, write_dataset_index
from nephi.learning.lookup import look_up
from nephi.learning.model import SYSTEMS, ModelSettings, NephiSystem, System, UNetSystem, build_system
from nephi.learning.model_file import StoredModel, model_bytes, model_tensors, read_model, write_model
from nephi.learning.nephi_network import NephiNetwork
from nephi.learning.objectives import FieldObjective, ObjectiveSettings, PairBatch
from nephi.learning.pair_files import PairFiles, read_pairs
from nephi.learning.prediction import model_digest, predict, settings_digest
from nephi.learning.prediction_inputs import settings_for
from nephi.learning.prediction_plan import plan_prediction
from nephi.learning.refinement import REFINED, Refinement, shortened
from nephi.learning.steps import Chain, NephiSteps
from nephi.learning.unet import DisplacementBatch, DisplacementUNet, UNetSettings

__all__ = [
    "REFINED",
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
    "FrameSettings",
    "Lattice",
    "ModelSettings",
    "NephiNetwork",
    "NephiSteps",
    "NephiSystem",
    "ObjectiveSettings",
    "PairBatch",
    "PairEncoder",
    "PairFiles",
    "Refinement",
    "Seen",
    "StoredModel",
    "System",
    "UNetSettings",
    "UNetSystem",
    "blend",
    "bring",
    "build_system",
    "dense_jacobian",
    "displacement_terms",
    "frame_grid",
    "frame_mask",
    "look_up",
    "model_bytes",
    "model_digest",
    "model_tensors",
    "plan_prediction",
    "predict",
    "read_dataset_index",
    "read_model",
    "read_pairs",
    "settings_digest",
    "settings_for",
    "shortened",
    "write_dataset_index",
    "write_model",
]
