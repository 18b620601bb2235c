"""Registration of a pair by a trained model, and its refinement."""

from nephi.fields import blend
from nephi.inference.inputs import settings_for
from nephi.inference.prediction import model_digest, plan_prediction, predict, settings_digest
from nephi.inference.refinement import REFINED_PARAMETERS, Refinement, refinement_schedule

__all__ = [
    "REFINED_PARAMETERS",
    "Refinement",
    "blend",
    "model_digest",
    "plan_prediction",
    "predict",
    "refinement_schedule",
    "settings_digest",
    "settings_for",
]
