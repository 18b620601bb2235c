"""The deformations of which a stored transform is composed, one file for each kind."""

from nephi.fields.steps.affine import AffineStep
from nephi.fields.steps.attention import AttentionStep
from nephi.fields.steps.displacement import DisplacementStep
from nephi.fields.steps.fields import FieldStep
from nephi.fields.steps.registry import STEPS, read_step, step_of, step_table
from nephi.fields.steps.sequence import conjugate_steps, merge_affine_steps
from nephi.fields.steps.spline import SplineStep
from nephi.fields.steps.step import Step, pop_tensor
from nephi.fields.steps.velocity import VelocityStep

__all__ = [
    "STEPS",
    "AffineStep",
    "AttentionStep",
    "DisplacementStep",
    "FieldStep",
    "SplineStep",
    "Step",
    "VelocityStep",
    "conjugate_steps",
    "merge_affine_steps",
    "pop_tensor",
    "read_step",
    "step_of",
    "step_table",
]
