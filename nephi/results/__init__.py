"""Result of a registration: the transform, its files, and checks of its plausibility."""

from nephi.results.checks import check_folding, check_result
from nephi.results.output_folder import OUTPUTS, check_output_folder, require_exportable
from nephi.results.quality import JacobianRange, Measured, Measures
from nephi.results.registration import Registration
from nephi.results.report_file import read_report
from nephi.results.resampling import resample
from nephi.results.saving import save_registration
from nephi.results.transform_files import (
    describe_transform,
    outside_value,
    read_exported_fields,
    read_inverse,
    read_transform,
    read_unrefined_inverse,
    transform_grid,
)
from nephi.results.verdict import CHECK, FAILED, OK, Quality

__all__ = [
    "CHECK",
    "FAILED",
    "OK",
    "OUTPUTS",
    "JacobianRange",
    "Measured",
    "Measures",
    "Quality",
    "Registration",
    "check_folding",
    "check_output_folder",
    "check_result",
    "describe_transform",
    "outside_value",
    "read_exported_fields",
    "read_inverse",
    "read_report",
    "read_transform",
    "read_unrefined_inverse",
    "require_exportable",
    "resample",
    "save_registration",
    "transform_grid",
]
