"""What fits and trainings minimise: the reference, the same by kernels, and the form for batches of pairs."""

from nephi.objective.batch import PairBatch, compared_images, sample_points, training_terms
from nephi.objective.fused import FUSED_WEIGHTS, FusedObjective, fused_objective
from nephi.objective.guides import Guide, LabelGuide, LandmarkGuide, add_guide_gradient, guide_terms
from nephi.objective.keypoints import keypoint_distance
from nephi.objective.objective import (
    ComparedChannel,
    ComparedImages,
    LandmarkPoints,
    SamplePoints,
    add_gradient,
    channel_term,
    fitted_maps,
    landmark_distance,
    loss_terms,
)

__all__ = [
    "FUSED_WEIGHTS",
    "ComparedChannel",
    "ComparedImages",
    "FusedObjective",
    "Guide",
    "LabelGuide",
    "LandmarkGuide",
    "LandmarkPoints",
    "PairBatch",
    "SamplePoints",
    "add_gradient",
    "add_guide_gradient",
    "channel_term",
    "compared_images",
    "fitted_maps",
    "fused_objective",
    "guide_terms",
    "keypoint_distance",
    "landmark_distance",
    "loss_terms",
    "sample_points",
    "training_terms",
]
