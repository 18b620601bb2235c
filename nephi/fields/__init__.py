"""Deformations as neural fields: encodings, latent codes, decoders, and the file they are stored in."""

from nephi.fields.batch import FieldBatch, LatentBatch, batches, give_latent, latent_grids
from nephi.fields.build import build_fields
from nephi.fields.codes import LatentCodes
from nephi.fields.inverse import PolishedInverse
from nephi.fields.neural_field import FieldPair, NeuralField
from nephi.fields.settings import DECODERS, ENCODINGS, FieldSettings
from nephi.fields.storage import StoredTransform, nephi_bytes, read_nephi
from nephi.fields.tables import from_table

__all__ = [
    "DECODERS",
    "ENCODINGS",
    "FieldBatch",
    "FieldPair",
    "FieldSettings",
    "LatentBatch",
    "LatentCodes",
    "NeuralField",
    "PolishedInverse",
    "StoredTransform",
    "batches",
    "build_fields",
    "from_table",
    "give_latent",
    "latent_grids",
    "nephi_bytes",
    "read_nephi",
]
