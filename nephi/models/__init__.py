"""Networks that predict a deformation, and the file they are stored in."""

from nephi.models.displacement_objective import dense_jacobian
from nephi.models.encoder import EncoderSettings, Lattice, PairEncoder
from nephi.models.file import StoredModel, model_bytes, model_tensors, read_model, write_model
from nephi.models.input import InputSettings, ModelInput, input_grid, to_model_input, world_transform
from nephi.models.model import ModelSettings, NephiSystem, System, build_system
from nephi.models.nephi_network import NephiNetwork
from nephi.models.objectives import PairBatch
from nephi.models.steps import NephiSteps
from nephi.models.unet import DisplacementUNet, UNetSettings

__all__ = [
    "DisplacementUNet",
    "EncoderSettings",
    "InputSettings",
    "Lattice",
    "ModelInput",
    "ModelSettings",
    "NephiNetwork",
    "NephiSteps",
    "NephiSystem",
    "PairBatch",
    "PairEncoder",
    "StoredModel",
    "System",
    "UNetSettings",
    "build_system",
    "dense_jacobian",
    "input_grid",
    "model_bytes",
    "model_tensors",
    "read_model",
    "to_model_input",
    "world_transform",
    "write_model",
]
