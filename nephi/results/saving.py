"""Write the files of a registration, and measure its quality while writing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from nephi.errors import DataError, UsageError, collected_warnings
from nephi.fields import nephi_bytes
from nephi.geometry import PointPairs
from nephi.images import Image
from nephi.io import recorded_path, replacing_files
from nephi.metrics import (
    Evaluation,
    check_landmark_errors,
    check_landmarks,
    dice,
    landmark_errors,
)
from nephi.preparation import is_found
from nephi.report import PAGE, RegistrationResult
from nephi.results.export import write_forward, write_inverse
from nephi.results.guidance import guidance_report
from nephi.results.output_folder import FILE_NAMES, OUTPUTS, check_output_folder, require_exportable
from nephi.results.verdict import Quality
from nephi.runtime import fit_threads, peak_memory_mb
from nephi.settings import settings_table


class JudgedResult(RegistrationResult, Protocol):
    """A registration with its verdict, which is measured when it is read."""

    @property
    def quality(self) -> Quality:
        """Whether the images match."""


def save_registration(
    registration: JudgedResult,
    folder: Path,
    overwrite: bool,
    landmarks: PointPairs | None = None,
    outputs: Collection[str] = tuple(OUTPUTS),
    labels: tuple[Image, Image] | None = None,
    page: Callable[[Mapping[str, Any]], str] | None = None,
) -> Mapping[str, Any]:
    """Write the `outputs` of a registration to `folder`, all or none; return the report.

    `page` returns the text of report.html, given the report. Files of an earlier registration that are not replaced are
    deleted, because they would not match the new ones. See `Registration.save` for the errors.
    """
    unknown = [name for name in outputs if name not in OUTPUTS]
    if unknown or not outputs:
        raise UsageError(f"outputs: expected some of {', '.join(OUTPUTS)}, found {', '.join(unknown) or 'none'}")
    pair = registration.pair
    further = [image for channel in pair.channels for image in (channel.images.fixed, channel.images.moving)]
    guiding = [side.image for side in pair.guidance.labels or ()]
    inputs = (pair.fixed, pair.moving, *further, pair.fixed_mask, pair.moving_mask, *guiding)
    check_output_folder(folder, overwrite, [image.name for image in inputs if image is not None and image.name])
    _require_dimension(registration, landmarks, labels)
    for image in (pair.fixed, pair.moving):
        require_exportable(image)
    with registration.usage.stage("quality"):
        quality = registration.quality.table()
    with collected_warnings() as issued, replacing_files(folder, FILE_NAMES) as temporary:
        if landmarks is not None:
            check_landmarks(landmarks, pair.fixed.grid, pair.moving.grid)
        with registration.usage.stage("export"), fit_threads(registration.settings.threads):
            measured = _write_outputs(registration, {name: temporary / OUTPUTS[name] for name in outputs})
        if landmarks is not None:
            errors = landmark_errors(registration.transform, landmarks)
            check_landmark_errors(registration.transform, landmarks, errors)
            measured["tre_mm"] = errors.table()
        if labels is not None:
            after, before = dice(*labels, registration.transform), dice(*labels, lambda points: points)
            measured |= Evaluation(dice=after, dice_before=before).table()
        measured |= guidance_report(registration)
        report = _report(registration, {"quality": quality, **measured}, issued, folder)
        if "report" in outputs:
            (temporary / OUTPUTS["report"]).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        if page is not None:
            (temporary / PAGE).write_bytes(page(report).encode("utf-8", "backslashreplace"))
    return report


def _require_dimension(
    registration: RegistrationResult, landmarks: PointPairs | None, labels: tuple[Image, Image] | None
) -> None:
    expected = registration.transform.dimension
    for image in labels or ():
        if image.dimension != expected:
            raise DataError(
                f"{image.name}: expected {expected}-D labels, like the images, found {image.dimension}-D ones"
            )
    if landmarks is not None and (landmarks.fixed.dimension != expected or len(landmarks) == 0):
        raise DataError(
            f"landmarks: expected {expected}-D pairs, like the images, found {len(landmarks)} "
            f"{landmarks.fixed.dimension}-D ones"
        )


def _report(
    registration: RegistrationResult, measured: Mapping[str, Any], issued: Iterable[str], folder: Path
) -> dict[str, Any]:
    """Return the content of report.json in `folder`; reports of equal runs differ only in `usage`."""
    stages = registration.usage.stages
    computed = [stages[name] for name in ("affine", "predict", "fit") if name in stages]
    return {
        **registration.stored.about,
        "warnings": list(dict.fromkeys([*registration.warnings, *issued])),
        "fixed": registration.pair.fixed.name,
        "moving": registration.pair.moving.name,
        "files": _input_files(registration, folder),
        **_channel_table(registration),
        "affine_matrix_ras": registration.stored.affine.matrix.tolist(),
        **measured,
        "settings": settings_table(registration.settings),
        "usage": {
            "date": datetime.now().astimezone().isoformat(timespec="seconds"),
            "threads": registration.usage.threads,
            "stages": stages,
            "affine_and_fit_cpu_s": sum(stage["cpu_s"] for stage in computed),
            "affine_and_fit_wall_s": sum(stage["wall_s"] for stage in computed),
            "process_cpu_s": time.process_time(),
            "peak_memory_mb": peak_memory_mb(),
            "peak_gpu_memory_mb": registration.gpu_memory_mb,
        },
        "history": {name: [row[name] for row in registration.history] for name in registration.history[0]}
        if registration.history
        else {},
    }


def _input_files(registration: RegistrationResult, folder: Path) -> dict[str, str]:
    """Return the paths of images and masks that were read from files, as `recorded_path`."""
    pair = registration.pair
    images: dict[str, Image | None] = {"fixed": pair.fixed, "moving": pair.moving}
    for role, mask, image in (
        ("fixed_mask", pair.fixed_mask, pair.fixed),
        ("moving_mask", pair.moving_mask, pair.moving),
    ):
        images[role] = None if mask is None or is_found(mask, image) else mask
    paths = {role: recorded_path(image.name, folder) for role, image in images.items() if image is not None}
    return {role: path for role, path in paths.items() if path is not None}


def _channel_table(registration: RegistrationResult) -> dict[str, Any]:
    """Return `channels` of the report: images and similarity of each; empty for a single one."""
    pair = registration.pair
    if not pair.channels:
        return {}
    channels = [(pair, registration.settings), *((each.images, each.settings) for each in pair.channels)]
    return {
        "channels": [
            {
                "fixed": images.fixed.name,
                "moving": images.moving.name,
                "similarity": settings.objective.similarity,
                "fixed_window": list(images.fixed_window),
                "moving_window": list(images.moving_window),
            }
            for images, settings in channels
        ]
    }


def _write_outputs(registration: RegistrationResult, paths: Mapping[str, Path]) -> dict[str, Any]:
    """Write transform, fields and warped image to `paths`, keyed as `OUTPUTS`; return folding and inverse consistency.

    Nothing is measured, and the result empty, without `warp`, `warped` or `report`.
    """
    if "transform" in paths:
        paths["transform"].write_bytes(nephi_bytes(registration.stored))
    measured = {}
    if paths.keys() & {"warp", "warped", "report"}:
        measured = write_forward(registration, paths.get("warp"), paths.get("warped"))
    if "inverse" in paths:
        write_inverse(registration.inverse, registration.pair.moving.grid, paths["inverse"])
    return measured
