"""The public names: listed in a stub that type checkers read, and loaded when first used."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nephi

# The names that users may rely on. When one is removed or added, change this list and CHANGELOG.md.
TOP_LEVEL = {
    "AffineTransform",
    "Composite",
    "DataError",
    "DataWarning",
    "DisplacementField",
    "Grid",
    "Image",
    "NephiError",
    "PlausibilityError",
    "PlausibilityWarning",
    "PointPairs",
    "Points",
    "Quality",
    "QualityError",
    "Registration",
    "Settings",
    "Transform",
    "UsageError",
    "Viewer",
    "evaluate",
    "export_transform",
    "invert",
    "jacobian_image",
    "landmark_errors",
    "overlay",
    "plan",
    "predict",
    "preset",
    "preset_names",
    "read_image",
    "read_inverse",
    "read_model",
    "read_point_pairs",
    "read_points",
    "read_settings",
    "read_transform",
    "register",
    "resample",
    "train",
    "write_image",
    "write_point_pairs",
    "write_points",
    "write_report",
}
ROOMS = {
    "comparison": {
        "BudgetSettings",
        "ComparedModel",
        "ComparisonPlan",
        "ComparisonResult",
        "ComparisonSettings",
        "PlannedModel",
        "ScoringSettings",
        "compare_models",
        "plan_comparison",
        "read_comparison_settings",
    },
    "datasets": {
        "DatasetImage",
        "DatasetIndex",
        "DatasetPair",
        "DatasetSource",
        "DatasetSplit",
        "PairFiles",
        "read_dataset_index",
        "read_pairs",
        "write_dataset_index",
    },
    "errors": {"collected_warnings"},
    "fields": {"StoredTransform", "read_nephi"},
    "geometry": set(),
    "images": {"INTERPOLATIONS", "Origin", "detail_length", "find_lungs"},
    "inference": {
        "GroupRegistration",
        "REFINED_PARAMETERS",
        "Refinement",
        "plan_prediction",
        "predict_alignments",
        "register_group",
        "save_group",
        "settings_for",
    },
    "io": {
        "CONVENTIONS",
        "FORMATS",
        "POINT_FORMATS",
        "FieldConvention",
        "GridLike",
        "ImageLike",
        "ImagesLike",
        "LabelsLike",
        "PointPairsLike",
        "PointsLike",
        "Series",
        "SeriesDescription",
        "read_grid",
        "read_series",
        "write_affine",
        "write_ct_series",
        "write_elastix_affine",
        "write_elastix_spline",
        "write_matrix_text",
        "write_series",
    },
    "losses": {"SIMILARITIES"},
    "metrics": {"Evaluation", "LandmarkErrors", "Lengths", "check_landmarks", "equivariance_error"},
    "models": {"ImportOptions", "StoredModel", "import_published", "write_model"},
    "optimize": {"Plan", "Progress"},
    "phantoms": {
        "BreathingStudy",
        "PhantomPair",
        "breathing_study",
        "half_field_of_view",
        "lung_phantom",
        "shapes_phantom",
        "stains_phantom",
        "two_channels",
    },
    "report": {"page_html"},
    "results": {"JacobianRange", "Measured", "Measures", "OUTPUTS", "read_unrefined_inverse"},
    "runtime": {"device_summary", "versions"},
    "settings": {"Options", "settings_from_table", "settings_toml", "with_similarity"},
    "training": {
        "TrainSettings",
        "TrainingResult",
        "equivariance_errors",
        "read_train_settings",
        "train_settings_toml",
        "training_presets",
    },
    "transforms": {
        "CoordinateAttention",
        "FittingField",
        "Spline",
        "StationaryVelocity",
        "affine_fit",
        "fitting_field",
        "halfway_affine_fit",
        "rigid_fit",
        "similarity_fit",
        "spline_fit",
        "warn_beyond_fields",
    },
}
SURFACE = TOP_LEVEL | {f"{room}.{name}" for room, names in ROOMS.items() for name in names}
STUB = Path(nephi.__file__).with_suffix(".pyi")
REFERENCE = Path(__file__).parents[1] / "docs" / "reference" / "api.md"
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

NOT_FOR_REGISTER = (
    *(name for name in HEAVY if name not in ("torch", "numpy")),
    *("nephi.datasets", "nephi.inference", "nephi.io.dicom", "nephi.io.pictures", "nephi.io.transforms.itk_transform"),
    *("nephi.models", "nephi.phantoms", "nephi.report.viewer.server", "nephi.training"),
    *("h5py", "http.server", "numpy.testing", "pydicom", "requests", "rich", "sympy", "tensorboard"),
    *("torch._dynamo", "torch._inductor", "torch.onnx", "torch.utils.tensorboard"),
)


def run_python(code: str) -> str:
    """Run code in a new interpreter and return its output."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def stub_imports() -> list[tuple[str | None, ast.alias]]:
    """Room and name of each import in the stub, None where the room itself is imported."""
    nodes = [node for node in ast.parse(STUB.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)]
    assert all(node.level == 1 for node in nodes)
    return [(node.module, alias) for node in nodes for alias in node.names]


def test_the_top_level_is_the_stored_list() -> None:
    assert set(nephi.__all__) == TOP_LEVEL | set(ROOMS)
    assert len(nephi.__all__) == len(TOP_LEVEL) + len(ROOMS)


def test_the_reference_documents_every_public_name() -> None:
    listed = " ".join(re.findall(r"<!-- api (.*?) -->", REFERENCE.read_text(encoding="utf-8"), flags=re.DOTALL))
    names = re.split(r",?\s+", listed)
    assert sorted(names) == sorted(SURFACE)


@pytest.mark.parametrize("name", sorted(SURFACE))
def test_every_name_loads_and_is_documented(name: str) -> None:
    *room, last = name.split(".")
    value = getattr(getattr(nephi, *room) if room else nephi, last)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert inspect.getdoc(value)
        assert value.__name__ == last


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_lists_its_public_names(room: str) -> None:
    module = getattr(nephi, room)
    assert module is importlib.import_module(f"nephi.{room}")
    assert set(getattr(module, "__all__", dir(module))) >= ROOMS[room]


def test_type_checkers_see_what_is_loaded() -> None:
    """The stub contains only imports, so that signatures are those of the sources, and lists each name once."""
    other = [node for node in ast.parse(STUB.read_text(encoding="utf-8")).body if not isinstance(node, ast.ImportFrom)]
    assert [ast.unparse(node) for node in other[1:]] == ["__version__: str"]
    aliases = [alias for _, alias in stub_imports()]
    assert [alias.name for alias in aliases if alias.asname != alias.name] == []  # `as`: exported, by PEP 484
    assert sorted(alias.name for alias in aliases) == sorted(nephi.__all__)
    for room, alias in stub_imports():
        if room is not None:
            assert getattr(nephi, alias.name) is getattr(importlib.import_module(f"nephi.{room}"), alias.name)


def test_completion_lists_every_name() -> None:
    assert set(dir(nephi)) >= TOP_LEVEL | set(ROOMS)


def test_first_use_restores_the_garbage_collector() -> None:
    code = "import gc, nephi; {}; nephi.Grid; print(gc.isenabled())"
    assert run_python(code.format("gc.enable()")).strip() == "True"
    assert run_python(code.format("gc.disable()")).strip() == "False"


def test_unknown_name_raises_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="attribute registr"):
        nephi.registr  # noqa: B018
    assert not hasattr(nephi, "registr")


def test_import_loads_nothing_heavy() -> None:
    code = f"""
import nephi, sys
nephi.__version__, nephi.DataError
print([name for name in {HEAVY} if name in sys.modules])
"""
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
print([name for name in {HEAVY} if name in sys.modules])
"""
    assert run_python(code).splitlines()[-1] == "[]"


def test_register_loads_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    """From NIfTI to all results but the page, whose figures need Pillow and jinja2.

    torch's compiler costs a second and 70 MB, nibabel 0.2 s; fits take a second. What torch loads itself is not ours.
    """
    pair = nephi.phantoms.shapes_phantom(shape=(24, 24))
    for name in ("fixed", "moving"):
        nephi.write_image(getattr(pair, name), tmp_path / f"{name}.nii.gz")
    (tmp_path / "brief.toml").write_text("[affine]\nsteps = 2\n[[levels]]\nsteps = 2\n", encoding="utf-8")
    code = f"""
import os, sys, torch
before = set(sys.modules)
os.chdir({str(tmp_path)!r})
from nephi.cli.main import main
try:
    main("register -f fixed.nii.gz -m moving.nii.gz -o out --config brief.toml -q "
         "--save transform,warp,inverse,warped,report".split())
except SystemExit as ended:
    assert not ended.code
print(sorted({{name for name in {NOT_FOR_REGISTER} for loaded in set(sys.modules) - before
               if f"{{loaded}}.".startswith(f"{{name}}.")}}))
"""
    assert run_python(code).splitlines()[-1] == "[]"
    assert (tmp_path / "out" / "inverse_warp.nii.gz").is_file()


def test_rich_is_loaded_only_for_printing() -> None:
    assert run_python("import sys, nephi.cli.main; print('rich' in sys.modules)").strip() == "False"


def test_import_star_gives_the_surface() -> None:
    names: dict[str, object] = {}
    exec("from nephi import *", names)
    assert set(names) >= TOP_LEVEL | set(ROOMS)


def test_errors_carry_their_exit_codes() -> None:
    assert nephi.UsageError.exit_code == 2
    assert nephi.DataError.exit_code == 3
    assert nephi.PlausibilityError.exit_code == 4
    assert nephi.QualityError.exit_code == 5
    assert issubclass(nephi.UsageError, nephi.NephiError) and issubclass(nephi.DataError, nephi.NephiError)
