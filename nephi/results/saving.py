"""Writing a registration's files."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nephi.errors import DataError, UsageError, collected_warnings
from nephi.geometry import PointPairs
from nephi.images import Image
from nephi.io import check_output_file, real_path, replacing_files, require_perpendicular, settle_abandoned
from nephi.metrics import Evaluation, check_landmark_errors, check_landmarks, dice, landmark_errors
from nephi.report import PAGE, RegistrationResult
from nephi.results.writing import write_results
from nephi.runtime import cpu_threads, peak_memory_mb
from nephi.settings import settings_table

OUTPUTS: Mapping[str, str] = MappingProxyType(
    {
        "transform": "transform.nephi",
        "warp": "warp.nii.gz",
        "inverse": "inverse_warp.nii.gz",
        "warped": "warped.nii.gz",
        "report": "report.json",
    }
)
"""What a registration can be saved as, and the files' names."""
# In the order in which they appear: where report.json is, all the others are.
NAMES = (*(name for name in OUTPUTS.values() if name != OUTPUTS["report"]), PAGE, OUTPUTS["report"])


def check_output_folder(folder: Path, overwrite: bool, inputs: Iterable[str | Path] = ()) -> None:
    """Raise `DataError` unless results can be written to `folder`: to be called before the work, not after it.

    None of the `inputs` may lie where a result goes, or an older one is removed: it would be lost. What killed
    processes left in the folder is removed.
    """
    settle_abandoned(folder)
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise DataError(f"{folder}: expected a folder for the results, found a file")
    if os.path.isdir(folder) and any(folder.iterdir()) and not overwrite:
        raise DataError(f"{folder}: the output folder is not empty; choose another, or give --overwrite")
    taken = [name for name in NAMES if os.path.exists(folder / name) and not os.path.isfile(folder / name)]
    if taken:
        raise DataError(f"{folder / taken[0]}: expected a place for a result, found a folder or device; move it away")
    for name in NAMES:
        if (folder / name).is_symlink():
            check_output_file(folder / name)  # a link may lead to a folder that is missing
    places = {real_path(folder / name) for name in NAMES}
    for path in map(Path, inputs):
        if real_path(path) in places:
            raise DataError(f"{path}: is given as an input, and lies where a result goes; choose another output folder")
    with replacing_files(folder, ()):
        pass


def require_exportable(image: Image) -> None:
    """Raise `DataError` for an image whose grid no displacement field can lie on: asked before the work, too."""
    require_perpendicular(image.grid, image.name, "a displacement field on its grid")


def save_registration(
    registration: RegistrationResult,
    folder: Path,
    overwrite: bool,
    landmarks: PointPairs | None = None,
    outputs: Collection[str] = tuple(OUTPUTS),
    labels: tuple[Image, Image] | None = None,
    page: Callable[[Mapping[str, Any]], str] | None = None,
) -> Mapping[str, Any]:
    """Write the `outputs` of a registration to `folder`, all together or none; return the report.

    `page` computes the text of report.html from the report. Results of an earlier registration that are not among the
    new ones are removed: they would not belong to them.
    """
    unknown = [name for name in outputs if name not in OUTPUTS]
    if unknown or not outputs:
        raise UsageError(f"outputs: expected some of {', '.join(OUTPUTS)}, found {', '.join(unknown) or 'none'}")
    pair = registration.pair
    given = (pair.fixed, pair.moving, pair.fixed_mask, pair.moving_mask)
    check_output_folder(folder, overwrite, [image.name for image in given if image is not None and image.name])
    _require_dimension(registration, landmarks, labels)
    for image in (pair.fixed, pair.moving):
        require_exportable(image)
    with collected_warnings() as found, replacing_files(folder, NAMES) as work:
        if landmarks is not None:
            check_landmarks(landmarks, pair.fixed.grid, pair.moving.grid)
        with registration.usage.stage("export"), cpu_threads(registration.settings.threads):
            measured = write_results(registration, {name: work / OUTPUTS[name] for name in outputs})
        if landmarks is not None:
            errors = landmark_errors(registration.transform, landmarks)
            check_landmark_errors(registration.transform, landmarks, errors)
            measured["tre_mm"] = errors.table()
        if labels is not None:
            after, before = dice(*labels, registration.transform), dice(*labels, lambda points: points)
            measured |= Evaluation(dice=after, dice_before=before).table()
        report = _report(registration, measured, found)
        if "report" in outputs:
            (work / OUTPUTS["report"]).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        if page is not None:
            (work / PAGE).write_bytes(page(report).encode("utf-8", "backslashreplace"))
    return report


def _require_dimension(
    registration: RegistrationResult, landmarks: PointPairs | None, labels: tuple[Image, Image] | None
) -> None:
    expected = registration.transform.dimension
    for image in labels or ():
        if image.dimension != expected:
            raise DataError(f"{image.name}: expected {expected}-D labels as the images are, found {image.dimension}-D")
    if landmarks is not None and (landmarks.fixed.dimension != expected or len(landmarks) == 0):
        raise DataError(
            f"landmarks: expected {expected}-D pairs as the images are, found {len(landmarks)} "
            f"{landmarks.fixed.dimension}-D ones"
        )


def _report(registration: RegistrationResult, measured: Mapping[str, Any], found: Iterable[str]) -> dict[str, Any]:
    """Return the content of report.json; equal runs differ in `usage` alone."""
    stages = registration.usage.stages
    fitted = [stages[name] for name in ("affine", "predict", "fit") if name in stages]
    return {
        **registration.stored.about,
        "warnings": list(dict.fromkeys([*registration.warnings, *found])),
        "fixed": registration.pair.fixed.name,
        "moving": registration.pair.moving.name,
        "affine_matrix_ras": registration.stored.affine.matrix.tolist(),
        **measured,
        "settings": settings_table(registration.settings),
        "usage": {
            "stages": stages,
            "affine_and_fit_cpu_s": sum(stage["cpu_s"] for stage in fitted),
            "affine_and_fit_wall_s": sum(stage["wall_s"] for stage in fitted),
            "process_cpu_s": time.process_time(),
            "peak_memory_mb": peak_memory_mb(),
            "peak_gpu_memory_mb": registration.gpu_memory_mb,
        },
        "history": {name: [row[name] for row in registration.history] for name in registration.history[0]}
        if registration.history
        else {},
    }
