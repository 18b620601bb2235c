"""nephi: deformable registration of medical images by neural deformation fields.

The public API. Names are loaded when first used, so that `import nephi` (and `nephi --help`) is quick.
"""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nephi.errors import (
    DataError,
    DataWarning,
    NephiError,
    PlausibilityError,
    PlausibilityWarning,
    UsageError,
    collected_warnings,
)

if TYPE_CHECKING:
    from nephi.datasets import (
        DatasetImage,
        DatasetIndex,
        DatasetPair,
        DatasetSource,
        DatasetSplit,
        PairFiles,
        read_dataset_index,
        read_pairs,
        write_dataset_index,
    )
    from nephi.fields import StoredTransform, read_nephi
    from nephi.geometry import Grid, PointPairs, Points
    from nephi.images import INTERPOLATIONS, Image, find_lungs, resample
    from nephi.inference import (
        REFINED,
        Refinement,
        model_digest,
        plan_prediction,
        predict,
        settings_digest,
        settings_for,
    )
    from nephi.io import (
        CONVENTIONS,
        FORMATS,
        POINT_FORMATS,
        FieldConvention,
        Series,
        check_output_file,
        export_transform,
        read_grid,
        read_image,
        read_point_pairs,
        read_points,
        read_series,
        write_affine,
        write_image,
        write_point_pairs,
        write_points,
        write_series,
        write_text,
    )
    from nephi.losses import SIMILARITIES
    from nephi.metrics import Evaluation, check_landmarks, evaluate, jacobian_image, landmark_errors
    from nephi.models import StoredModel, read_model, write_model
    from nephi.optimize import Plan, Progress, plan, register
    from nephi.phantoms import PhantomPair, lung_phantom, shapes_phantom
    from nephi.report import Viewer, overlay, page_html, write_report
    from nephi.results import (
        OUTPUTS,
        Registration,
        check_output_folder,
        describe_transform,
        exported_pair,
        outside_value,
        read_inverse,
        read_trained_inverse,
        read_transform,
        require_exportable,
        transform_grid,
    )
    from nephi.runtime import device_summary, versions
    from nephi.settings import (
        Settings,
        preset,
        preset_names,
        read_settings,
        settings_from_table,
        settings_toml,
        with_similarity,
    )
    from nephi.training import (
        TrainingResult,
        TrainSettings,
        read_train_settings,
        train,
        train_settings_toml,
    )
    from nephi.transforms import (
        AffineTransform,
        Composite,
        DisplacementField,
        FittingGrid,
        Transform,
        fitting_grid,
        invert,
        warn_beyond_fields,
    )

_HOMES = {
    "nephi.datasets": (
        "DatasetImage",
        "DatasetIndex",
        "DatasetPair",
        "DatasetSource",
        "DatasetSplit",
        "PairFiles",
        "read_dataset_index",
        "read_pairs",
        "write_dataset_index",
    ),
    "nephi.fields": (
        "StoredTransform",
        "read_nephi",
    ),
    "nephi.geometry": (
        "Grid",
        "PointPairs",
        "Points",
    ),
    "nephi.images": (
        "INTERPOLATIONS",
        "Image",
        "find_lungs",
        "resample",
    ),
    "nephi.inference": (
        "REFINED",
        "Refinement",
        "model_digest",
        "plan_prediction",
        "predict",
        "settings_digest",
        "settings_for",
    ),
    "nephi.io": (
        "CONVENTIONS",
        "FORMATS",
        "FieldConvention",
        "POINT_FORMATS",
        "Series",
        "check_output_file",
        "export_transform",
        "read_grid",
        "read_image",
        "read_point_pairs",
        "read_points",
        "read_series",
        "write_affine",
        "write_image",
        "write_point_pairs",
        "write_points",
        "write_series",
        "write_text",
    ),
    "nephi.losses": ("SIMILARITIES",),
    "nephi.metrics": (
        "Evaluation",
        "check_landmarks",
        "evaluate",
        "jacobian_image",
        "landmark_errors",
    ),
    "nephi.models": (
        "StoredModel",
        "read_model",
        "write_model",
    ),
    "nephi.optimize": (
        "Plan",
        "Progress",
        "plan",
        "register",
    ),
    "nephi.phantoms": (
        "PhantomPair",
        "lung_phantom",
        "shapes_phantom",
    ),
    "nephi.report": (
        "Viewer",
        "overlay",
        "page_html",
        "write_report",
    ),
    "nephi.results": (
        "OUTPUTS",
        "Registration",
        "check_output_folder",
        "describe_transform",
        "exported_pair",
        "outside_value",
        "read_inverse",
        "read_trained_inverse",
        "read_transform",
        "require_exportable",
        "transform_grid",
    ),
    "nephi.runtime": (
        "device_summary",
        "versions",
    ),
    "nephi.settings": (
        "Settings",
        "preset",
        "preset_names",
        "read_settings",
        "settings_from_table",
        "settings_toml",
        "with_similarity",
    ),
    "nephi.training": (
        "TrainSettings",
        "TrainingResult",
        "read_train_settings",
        "train",
        "train_settings_toml",
    ),
    "nephi.transforms": (
        "AffineTransform",
        "Composite",
        "DisplacementField",
        "FittingGrid",
        "Transform",
        "fitting_grid",
        "invert",
        "warn_beyond_fields",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CONVENTIONS",
    "FORMATS",
    "INTERPOLATIONS",
    "OUTPUTS",
    "POINT_FORMATS",
    "REFINED",
    "SIMILARITIES",
    "AffineTransform",
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
    "FieldConvention",
    "FittingGrid",
    "Grid",
    "Image",
    "NephiError",
    "PairFiles",
    "PhantomPair",
    "Plan",
    "PlausibilityError",
    "PlausibilityWarning",
    "PointPairs",
    "Points",
    "Progress",
    "Refinement",
    "Registration",
    "Series",
    "Settings",
    "StoredModel",
    "StoredTransform",
    "TrainSettings",
    "TrainingResult",
    "Transform",
    "UsageError",
    "Viewer",
    "check_landmarks",
    "check_output_file",
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
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'nephi' has no attribute {name!r}")
    with _collector_paused():
        return getattr(importlib.import_module(_HOME_OF[name]), name)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the garbage collector from searching what torch's import makes and keeps: a quarter of its time."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
