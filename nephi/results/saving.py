"""Write the files of a registration, and measure its quality while writing."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from nephi.errors import DataError, UsageError, collected_warnings
from nephi.fields import nephi_bytes
from nephi.geometry import Grid, PointPairs
from nephi.images import Image, Resampler
from nephi.io import DisplacementWriter, recorded_path, replacing_files, slab_writer
from nephi.metrics import (
    Evaluation,
    StreamingFoldingStatistics,
    StreamingInverseError,
    check_landmark_errors,
    check_landmarks,
    dice,
    landmark_errors,
    slab_inside,
)
from nephi.report import PAGE, RegistrationResult
from nephi.results.ahead import computed_ahead
from nephi.results.guidance import guidance_report
from nephi.results.output_folder import FILE_NAMES, OUTPUTS, check_output_folder, require_exportable
from nephi.results.verdict import Quality
from nephi.runtime import fit_threads, peak_memory_mb
from nephi.settings import settings_table
from nephi.transforms import Transform, displacement_slabs

INVERSE_QUANTUM = 2.0**-12  # mm; inverses are exact to 0.001 mm, so rounding must be finer
INVERSE_POINTS = 200_000  # voxels at which the inverse error is measured: enough for four digits of its mean


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
    roles = ("fixed", "moving", "fixed_mask", "moving_mask")
    images = {role: getattr(registration.pair, role) for role in roles}
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
        measured = _write_forward(registration, paths.get("warp"), paths.get("warped"))
    if "inverse" in paths:
        _write_inverse(registration.inverse, registration.pair.moving.grid, paths["inverse"])
    return measured


def _write_forward(registration: RegistrationResult, warp: Path | None, warped: Path | None) -> dict[str, Any]:
    """Write forward field and warped image (None: not written) slab by slab; return folding and inverse consistency."""
    pair, transform = registration.pair, registration.transform
    grid, mask = pair.fixed.grid, pair.fixed_mask
    resampler = Resampler(pair.moving, "linear", registration.settings.image.outside)
    folding = StreamingFoldingStatistics(grid, mask, registration.stored.handedness)
    stride = math.ceil(grid.size / INVERSE_POINTS)
    inverses = {
        "inverse_consistency_mm": registration.inverse,
        "unrefined_inverse_mm": registration.stored.unrefined_inverse,
    }
    errors = {name: StreamingInverseError(inverse, stride) for name, inverse in inverses.items() if inverse is not None}
    with ExitStack() as stack, torch.no_grad():
        writer = stack.enter_context(DisplacementWriter(warp, grid)) if warp else None
        append = stack.enter_context(slab_writer(warped, grid, pair.moving.voxel_type)) if warped else None
        slabs = _forward_slabs(transform, grid, resampler if append else None)
        for start, stop, points, warped_points, values in computed_ahead(slabs):
            displacement = warped_points - points
            if writer:
                writer.write(start, stop, displacement)
            if append and values is not None:
                append(values)
            folding.add(displacement, last=stop == grid.shape[-1])
            inside = None if mask is None else slab_inside(mask, grid, start, stop)
            for error in errors.values():
                error.add(points, warped_points, inside)
    return {
        "inside_mask": vars(folding.inside_mask.result()) if mask is not None else None,
        "whole_grid": vars(folding.whole_grid.result()),
        **{name: errors[name].mean if name in errors else None for name in inverses},
    }


def _forward_slabs(
    transform: Transform, grid: Grid, resampler: Resampler | None
) -> Iterator[tuple[int, int, Tensor, Tensor, Tensor | None]]:
    """Yield slices `(start, stop)` of the last axis, their points, the warped points, and the image's values there."""
    for start, stop in grid.slabs():
        points = grid.voxel_centres(start, stop)
        warped_points = transform(points)
        yield start, stop, points, warped_points, None if resampler is None else resampler(warped_points)


def _write_inverse(inverse: Transform, grid: Grid, path: Path) -> None:
    with DisplacementWriter(path, grid, quantum=INVERSE_QUANTUM) as writer, torch.no_grad():
        for start, stop, displacement in computed_ahead(displacement_slabs(inverse, grid)):
            writer.write(start, stop, displacement)
