"""What fits and trainings minimise: the reference, and the same by kernels."""

from nephi.objective.fused import FUSED_WEIGHTS, FusedObjective, fused_objective
from nephi.objective.objective import (
    ComparedImages,
    LandmarkPoints,
    SamplePoints,
    add_gradient,
    fitted_maps,
    landmark_distance,
    loss_terms,
)

__all__ = [
    "FUSED_WEIGHTS",
    "ComparedImages",
    "FusedObjective",
    "LandmarkPoints",
    "SamplePoints",
    "add_gradient",
    "fitted_maps",
    "fused_objective",
    "landmark_distance",
    "loss_terms",
]
