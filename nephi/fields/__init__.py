"""Deformations as neural fields: encodings, latent codes, decoders, and the file they are stored in."""

from nephi.fields.blending import blend, blend_fields
from nephi.fields.build import build_fields, encoding_lattices
from nephi.fields.composed import ComposedField, ComposedFieldPair
from nephi.fields.from_maps import can_start_from_maps, fields_from_maps
from nephi.fields.grids import LatentCodes, LatentGrids
from nephi.fields.inverse import PolishedInverse
from nephi.fields.maps import (
    FieldMaps,
    LatentBatch,
    field_maps,
    fields_with_latent,
    latent_grids,
    latent_parameters,
    single_maps,
)
from nephi.fields.neural_field import FieldPair, NeuralField
from nephi.fields.settings import DECODERS, ENCODINGS, FieldSettings
from nephi.fields.size import FieldSize, field_size
from nephi.fields.steps import (
    STEPS,
    AffineStep,
    AttentionStep,
    DisplacementStep,
    FieldStep,
    SplineStep,
    Step,
    VelocityStep,
    conjugate_steps,
    merge_affine_steps,
    step_of,
)
from nephi.fields.storage import nephi_bytes, read_nephi
from nephi.fields.stored import StoredTransform
from nephi.fields.tensor_file import UNFIT, TensorFile

__all__ = [
    "DECODERS",
    "ENCODINGS",
    "STEPS",
    "UNFIT",
    "AffineStep",
    "AttentionStep",
    "ComposedField",
    "ComposedFieldPair",
    "DisplacementStep",
    "FieldMaps",
    "FieldPair",
    "FieldSettings",
    "FieldSize",
    "FieldStep",
    "LatentBatch",
    "LatentCodes",
    "LatentGrids",
    "NeuralField",
    "PolishedInverse",
    "SplineStep",
    "Step",
    "StoredTransform",
    "TensorFile",
    "VelocityStep",
    "blend",
    "blend_fields",
    "build_fields",
    "can_start_from_maps",
    "conjugate_steps",
    "encoding_lattices",
    "field_maps",
    "field_size",
    "fields_from_maps",
    "fields_with_latent",
    "latent_grids",
    "latent_parameters",
    "merge_affine_steps",
    "nephi_bytes",
    "read_nephi",
    "single_maps",
    "step_of",
]
