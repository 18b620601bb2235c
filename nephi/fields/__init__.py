"""Deformations as neural fields: encodings, latent codes, decoders, and the file they are stored in."""

from nephi.fields.build import build_fields, encoding_lattices
from nephi.fields.codes import CodeBatch, LatentCodes
from nephi.fields.inverse import PolishedInverse
from nephi.fields.neural_field import FieldBatch, FieldPair, NeuralField
from nephi.fields.settings import DECODERS, ENCODINGS, FieldSettings
from nephi.fields.storage import StoredTransform, nephi_bytes, read_nephi
from nephi.fields.tables import from_table

__all__ = [
    "DECODERS",
    "ENCODINGS",
    "CodeBatch",
    "FieldBatch",
    "FieldPair",
    "FieldSettings",
    "LatentCodes",
    "NeuralField",
    "PolishedInverse",
    "StoredTransform",
    "build_fields",
    "encoding_lattices",
    "from_table",
    "nephi_bytes",
    "read_nephi",
]
