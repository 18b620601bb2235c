"""Public names of nephi.io."""

import subprocess
import sys

import nephi.io


def test_public_names() -> None:
    assert sorted(nephi.io.__all__) == [
        "CONVENTIONS",
        "DisplacementWriter",
        "FORMATS",
        "FieldConvention",
        "GridLike",
        "ImageLike",
        "ImagesLike",
        "LabelsLike",
        "POINT_FORMATS",
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
    assert all(hasattr(nephi.io, name) for name in nephi.io.__all__)


def test_importing_it_loads_no_heavy_library() -> None:
    code = "import sys, nephi.io; print([m for m in ('SimpleITK', 'nibabel', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
