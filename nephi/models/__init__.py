"""Networks that predict a deformation, and the file they are stored in."""

from nephi.models.alignments import asymmetry, check_alignments, keypoint_maps, pair_weights
from nephi.models.auto_decoder import AutoDecoder, AutoDecoderSettings, LatentTable
from nephi.models.base import ModelSettings, ModelSize, PairNetwork, RegistrationModel
from nephi.models.carl import CARL, CARLSettings
from nephi.models.composition import (
    Antisymmetric,
    Augmented,
    Consistent,
    Steps,
    Swapped,
    downsampled,
    random_rotations,
    warp_images,
)
from nephi.models.constricon import ConstrICON, ConstrICONSettings
from nephi.models.displacement_unet import DisplacementUNet, DisplacementUNetSettings
from nephi.models.file import StoredModel, load_tensors, model_bytes, model_tensors, read_model, write_model
from nephi.models.gradicon import GradICON, GradICONSettings
from nephi.models.icon import ICON, ICONSettings
from nephi.models.input import ModelInput, to_model_input, world_transform
from nephi.models.input_settings import InputSettings, input_grid
from nephi.models.keymorph import KeyMorph, KeyMorphSettings
from nephi.models.nephi import NephiModel, NephiSettings
from nephi.models.networks.affine import AffineNetwork, AffineNetworkSettings
from nephi.models.networks.encoder import EncoderSettings, Lattice, PairEncoder
from nephi.models.networks.features import FeatureSettings
from nephi.models.networks.keypoints import KeypointNetwork, Keypoints, KeypointSettings
from nephi.models.networks.unet import UNet, UNetSettings
from nephi.models.published.importing import SOURCES, ImportOptions, import_published
from nephi.models.published.tall_unet_steps import PublishedTallUNet, TallUNetSettings
from nephi.models.registry import MODELS, build_model, model_class, model_settings, model_table

__all__ = [
    "CARL",
    "ICON",
    "MODELS",
    "SOURCES",
    "AffineNetwork",
    "AffineNetworkSettings",
    "Antisymmetric",
    "Augmented",
    "AutoDecoder",
    "AutoDecoderSettings",
    "CARLSettings",
    "Consistent",
    "ConstrICON",
    "ConstrICONSettings",
    "DisplacementUNet",
    "DisplacementUNetSettings",
    "EncoderSettings",
    "FeatureSettings",
    "GradICON",
    "GradICONSettings",
    "ICONSettings",
    "ImportOptions",
    "InputSettings",
    "KeyMorph",
    "KeyMorphSettings",
    "KeypointNetwork",
    "KeypointSettings",
    "Keypoints",
    "LatentTable",
    "Lattice",
    "ModelInput",
    "ModelSettings",
    "ModelSize",
    "NephiModel",
    "NephiSettings",
    "PairEncoder",
    "PairNetwork",
    "PublishedTallUNet",
    "RegistrationModel",
    "Steps",
    "StoredModel",
    "Swapped",
    "TallUNetSettings",
    "UNet",
    "UNetSettings",
    "asymmetry",
    "build_model",
    "check_alignments",
    "downsampled",
    "import_published",
    "input_grid",
    "keypoint_maps",
    "load_tensors",
    "model_bytes",
    "model_class",
    "model_settings",
    "model_table",
    "model_tensors",
    "pair_weights",
    "random_rotations",
    "read_model",
    "to_model_input",
    "warp_images",
    "world_transform",
    "write_model",
]
