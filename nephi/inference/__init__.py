"""Registration of a pair by a trained model, and its refinement."""

from nephi.fields import blend
from nephi.inference.alignments import check_align, predict_alignments
from nephi.inference.groupwise import GroupRegistration, check_group, register_group
from nephi.inference.groupwise_files import check_group_folder, save_group
from nephi.inference.inputs import settings_for
from nephi.inference.prediction import model_digest, plan_prediction, predict, settings_digest
from nephi.inference.refinement import refinement_schedule
from nephi.inference.refinement_settings import REFINED_PARAMETERS, Refinement

__all__ = [
    "REFINED_PARAMETERS",
    "GroupRegistration",
    "Refinement",
    "blend",
    "check_align",
    "check_group",
    "check_group_folder",
    "model_digest",
    "plan_prediction",
    "predict",
    "predict_alignments",
    "refinement_schedule",
    "register_group",
    "save_group",
    "settings_digest",
    "settings_for",
]
