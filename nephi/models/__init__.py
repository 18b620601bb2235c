"""Networks that predict a deformation, and the file they are stored in."""

from nephi.models.blending import blend
from nephi.models.displacement_objective import dense_jacobian
from nephi.models.encoder import EncoderSettings, Lattice, PairEncoder
from nephi.models.file import StoredModel, model_bytes, model_tensors, read_model, write_model
from nephi.models.input import FrameSettings, Seen, bring, frame_grid
from nephi.models.model import ModelSettings, NephiSystem, System, build_system
from nephi.models.nephi_network import NephiNetwork
from nephi.models.objectives import PairBatch
from nephi.models.steps import NephiSteps
from nephi.models.unet import DisplacementUNet, UNetSettings

__all__ = [
    "DisplacementUNet",
    "EncoderSettings",
    "FrameSettings",
    "Lattice",
    "ModelSettings",
    "NephiNetwork",
    "NephiSteps",
    "NephiSystem",
    "PairBatch",
    "PairEncoder",
    "Seen",
    "StoredModel",
    "System",
    "UNetSettings",
    "blend",
    "bring",
    "build_system",
    "dense_jacobian",
    "frame_grid",
    "model_bytes",
    "model_tensors",
    "read_model",
    "write_model",
]
