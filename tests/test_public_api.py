"""The public names: a stored list, loaded when first used."""

import inspect
import subprocess
import sys

import pytest

import nephi

# What users may rely on. A name that goes, or comes, is a decision: change this list on purpose, and CHANGELOG.md.
SURFACE = {
    "AffineTransform",
    "CONVENTIONS",
    "Composite",
    "DataError",
    "DataWarning",
    "DatasetImage",
    "DatasetIndex",
    "DatasetPair",
    "DatasetSource",
    "DatasetSplit",
    "DisplacementField",
    "Evaluation",
    "FORMATS",
    "FieldConvention",
    "FittingGrid",
    "Grid",
    "INTERPOLATIONS",
    "Image",
    "NephiError",
    "OUTPUTS",
    "POINT_FORMATS",
    "PairFiles",
    "PhantomPair",
    "Plan",
    "PlausibilityError",
    "PlausibilityWarning",
    "PointPairs",
    "Points",
    "Progress",
    "REFINED",
    "Refinement",
    "Registration",
    "SIMILARITIES",
    "Series",
    "Settings",
    "StoredModel",
    "StoredTransform",
    "TrainSettings",
    "TrainingResult",
    "Transform",
    "UsageError",
    "Viewer",
    "check_output_file",
    "check_landmarks",
    "check_output_folder",
    "collected_warnings",
    "describe_transform",
    "device_summary",
    "evaluate",
    "export_transform",
    "exported_pair",
    "find_lungs",
    "fitting_grid",
    "invert",
    "jacobian_image",
    "landmark_errors",
    "lung_phantom",
    "model_digest",
    "outside_value",
    "overlay",
    "page_html",
    "plan",
    "plan_prediction",
    "predict",
    "preset",
    "preset_names",
    "read_dataset_index",
    "read_grid",
    "read_image",
    "read_inverse",
    "read_model",
    "read_nephi",
    "read_pairs",
    "read_point_pairs",
    "read_points",
    "read_series",
    "read_settings",
    "read_train_settings",
    "read_trained_inverse",
    "read_transform",
    "register",
    "require_exportable",
    "resample",
    "settings_digest",
    "settings_for",
    "settings_from_table",
    "settings_toml",
    "shapes_phantom",
    "train",
    "train_settings_toml",
    "transform_grid",
    "versions",
    "warn_beyond_fields",
    "with_similarity",
    "write_affine",
    "write_dataset_index",
    "write_image",
    "write_model",
    "write_point_pairs",
    "write_points",
    "write_report",
    "write_series",
    "write_text",
}
HEAVY = (
    "torch",
    "lightning_fabric",
    "tensorboard",
    "SimpleITK",
    "nibabel",
    "scipy",
    "numpy",
    "matplotlib",
    "jinja2",
    "PIL",
)


def run_python(code: str) -> str:
    """Run code in a fresh interpreter; what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_surface_is_the_stored_list() -> None:
    assert set(nephi.__all__) == SURFACE
    assert len(nephi.__all__) == len(SURFACE)


@pytest.mark.parametrize("name", sorted(SURFACE))
def test_every_name_loads_and_is_documented(name: str) -> None:
    thing = getattr(nephi, name)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        assert inspect.getdoc(thing)
        assert thing.__name__ == name


def test_every_name_shows_up_in_completion() -> None:
    assert set(dir(nephi)) >= SURFACE


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'registr'"):
        nephi.registr  # noqa: B018
    assert not hasattr(nephi, "registr")


def test_import_loads_nothing_heavy() -> None:
    code = f"import nephi, sys; nephi.__version__; nephi.DataError; print([m for m in {HEAVY} if m in sys.modules])"
    assert run_python(code).strip() == "[]"


@pytest.mark.parametrize("arguments", [["--help"], ["register", "--help"], ["demo", "-h"], ["train", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
import sys
from nephi.cli.main import main
try:
    main({arguments})
except SystemExit as ended:
    assert ended.code == 0
print([m for m in {HEAVY} if m in sys.modules])
"""
    assert run_python(code).splitlines()[-1] == "[]"


def test_register_does_not_load_torchs_compiler() -> None:
    """It costs a second and 70 MB; fits take three seconds."""
    code = """
import sys, nephi, dataclasses
pair = nephi.shapes_phantom(shape=(24, 24))
settings = nephi.preset("generic")
levels = tuple(dataclasses.replace(level, steps=2) for level in settings.levels)
affine = dataclasses.replace(settings.affine, steps=2)
nephi.register(pair.fixed, pair.moving, settings=dataclasses.replace(settings, levels=levels, affine=affine))
print("torch._dynamo" in sys.modules)
"""
    assert run_python(code).strip() == "False"


def test_a_command_that_prints_nothing_does_not_load_what_prints() -> None:
    assert run_python("import sys, nephi.cli.main; print('rich' in sys.modules)").strip() == "False"


def test_import_star_gives_the_surface() -> None:
    names: dict[str, object] = {}
    exec("from nephi import *", names)
    assert set(names) >= SURFACE


def test_errors_carry_their_exit_codes() -> None:
    assert nephi.UsageError.exit_code == 2
    assert nephi.DataError.exit_code == 3
    assert issubclass(nephi.UsageError, nephi.NephiError) and issubclass(nephi.DataError, nephi.NephiError)
