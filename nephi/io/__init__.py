"""Read and write images, series, transforms and landmarks of other tools; all conversion from LPS, NIfTI and DICOM."""

from nephi.geometry.frames import require_perpendicular
from nephi.io.arguments import (
    GridLike,
    ImageLike,
    ImagesLike,
    LabelsLike,
    PointPairsLike,
    PointsLike,
    as_grid,
    as_image,
    as_images,
    as_path,
    as_point_pairs,
    as_points,
    channel_count,
)
from nephi.io.ct_series import SeriesDescription, write_ct_series
from nephi.io.export import FORMATS, export_transform
from nephi.io.fields.conventions import CONVENTIONS, FieldConvention
from nephi.io.fields.displacement import read_displacement, write_displacement_itk
from nephi.io.fields.displacement_writer import DisplacementWriter, write_displacement
from nephi.io.files.atomic import check_output_file, replacing, replacing_files, write_durably, write_text
from nephi.io.files.commit import real_path, recover_interrupted
from nephi.io.files.lock import locked_file
from nephi.io.files.recorded_paths import located_path, recorded_path
from nephi.io.image_writer import write_image
from nephi.io.images import image_grid, read_grid, read_image
from nephi.io.label_names import read_label_names
from nephi.io.nifti.writer import slab_writer
from nephi.io.points.delimited import delimiter_of
from nephi.io.points.landmarks import POINT_FORMATS, has_point_pairs, read_point_pairs, read_points
from nephi.io.points.plain import write_dirlab
from nephi.io.points.writer import write_point_pairs, write_points
from nephi.io.series import Series, read_series, write_series
from nephi.io.text import json_keys
from nephi.io.transforms.affine_text import write_matrix_text
from nephi.io.transforms.elastix_writer import write_elastix_affine, write_elastix_spline
from nephi.io.transforms.itk_writer import write_affine
from nephi.io.transforms.transform_file import read_foreign_transform

__all__ = [
    "CONVENTIONS",
    "FORMATS",
    "POINT_FORMATS",
    "DisplacementWriter",
    "FieldConvention",
    "GridLike",
    "ImageLike",
    "ImagesLike",
    "LabelsLike",
    "PointPairsLike",
    "PointsLike",
    "Series",
    "SeriesDescription",
    "as_grid",
    "as_image",
    "as_images",
    "as_path",
    "as_point_pairs",
    "as_points",
    "channel_count",
    "check_output_file",
    "delimiter_of",
    "export_transform",
    "has_point_pairs",
    "image_grid",
    "json_keys",
    "located_path",
    "locked_file",
    "read_displacement",
    "read_foreign_transform",
    "read_grid",
    "read_image",
    "read_label_names",
    "read_point_pairs",
    "read_points",
    "read_series",
    "real_path",
    "recorded_path",
    "recover_interrupted",
    "replacing",
    "replacing_files",
    "require_perpendicular",
    "slab_writer",
    "write_affine",
    "write_ct_series",
    "write_dirlab",
    "write_displacement",
    "write_displacement_itk",
    "write_durably",
    "write_elastix_affine",
    "write_elastix_spline",
    "write_image",
    "write_matrix_text",
    "write_point_pairs",
    "write_points",
    "write_series",
    "write_text",
]
