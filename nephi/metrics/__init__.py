"""Measures of a transform: landmark errors, overlap of labels, folding, inverse consistency, equivariance."""

from nephi.metrics.consistency import inverse_consistency_error
from nephi.metrics.correspondence import Correspondence, StructuredPatches
from nephi.metrics.displacement import Lengths, local_displacements
from nephi.metrics.equivariance import equivariance_error
from nephi.metrics.evaluation import Evaluation, evaluate
from nephi.metrics.label_agreement import LabelAgreement, label_agreement, names_of
from nephi.metrics.landmarks import LandmarkErrors, check_landmark_errors, check_landmarks, landmark_errors
from nephi.metrics.overlap import dice, label_numbers
from nephi.metrics.regions import foreground, thinned
from nephi.metrics.regularity import (
    FoldingStatistics,
    Regularity,
    inside_mask,
    is_folded,
    jacobian_image,
    regularity,
    slab_inside,
)
from nephi.metrics.streaming import (
    FieldPart,
    FoldingPair,
    StreamingFoldingStatistics,
    StreamingInverseError,
    field_regularity,
)
from nephi.metrics.surface_distance import SurfaceDistance, surface_distances
from nephi.metrics.volume_change import VolumeChange, volume_changes

__all__ = [
    "Correspondence",
    "Evaluation",
    "FieldPart",
    "FoldingPair",
    "FoldingStatistics",
    "LabelAgreement",
    "LandmarkErrors",
    "Lengths",
    "Regularity",
    "StreamingFoldingStatistics",
    "StreamingInverseError",
    "StructuredPatches",
    "SurfaceDistance",
    "VolumeChange",
    "check_landmark_errors",
    "check_landmarks",
    "dice",
    "equivariance_error",
    "evaluate",
    "field_regularity",
    "foreground",
    "inside_mask",
    "inverse_consistency_error",
    "is_folded",
    "jacobian_image",
    "label_agreement",
    "label_numbers",
    "landmark_errors",
    "local_displacements",
    "names_of",
    "regularity",
    "slab_inside",
    "surface_distances",
    "thinned",
    "volume_changes",
]
