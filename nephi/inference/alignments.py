"""Several registrations of a pair of images from the same keypoints, found in one pass of the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nephi.argument_types import checked
from nephi.errors import UsageError, collected_warnings
from nephi.fields import StoredTransform
from nephi.inference.found_keypoints import pair_keypoints
from nephi.inference.inputs import load_model, prediction_inputs, prediction_settings
from nephi.inference.prediction import on_device, prediction_record, stored_prediction
from nephi.inference.refinement_settings import Refinement
from nephi.io import ImageLike
from nephi.models import Keypoints, ModelInput, StoredModel, asymmetry, check_alignments
from nephi.preparation import pair_warnings
from nephi.results import Registration, check_folding
from nephi.runtime import Usage, choose_device, cpu_threads, peak_gpu_memory_mb, registration_threads
from nephi.settings import Settings, settings_table
from nephi.transforms import AffineTransform


def check_align(model: StoredModel, names: Sequence[str]) -> None:
    """Raise `UsageError` for alignments that are unknown or given twice, and for a model without keypoints."""
    if not names:
        raise UsageError("align: expected at least one alignment, got none")
    check_alignments("align", names)
    if len(set(names)) < len(names):
        raise UsageError(f"align: expected different alignments, got {','.join(names)}")
    model.model.require_keypoints("align")


@checked
@torch.no_grad()
def predict_alignments(
    fixed: ImageLike,
    moving: ImageLike,
    names: Sequence[str],
    *,
    model: StoredModel | str | Path,
    preset: str | None = None,
    settings: Settings | None = None,
    fixed_mask: ImageLike | None = None,
    moving_mask: ImageLike | None = None,
    seed: int = 0,
    device: str = "auto",
) -> dict[str, Registration]:
    """Register the moving image to the fixed one by several alignments of the keypoints of a trained `model`.

    `names` are `rigid`, `similarity`, `affine`, `halfway` (a symmetric affine map), and `tps:` with the smoothing of a
    spline, such as `tps:0.1`. The network sees each image once. The record `about` of each result holds its name as
    `align`, the names of all as `aligned`, and the `asymmetry_mm` of each: the mean distance by which phi, followed by
    the map of the exchanged images, moves a point of the model's input; 0 up to rounding for rigid, similarity and
    half-way maps. `keypoints` are those of both images in their worlds (RAS, mm), with the products of their weights,
    the largest 1.

    Other arguments and errors are those of `predict`; `UsageError` also for unknown alignments, and for a model without
    keypoints.
    """
    stored, torch_device = load_model(model), choose_device(device)
    check_align(stored, names)
    chosen = prediction_settings(stored, preset, settings)
    usage = Usage(registration_threads(chosen.threads))
    with collected_warnings() as texts, cpu_threads(usage.threads):
        with usage.stage("prepare"):
            inputs = prediction_inputs((fixed, moving), (fixed_mask, moving_mask), stored, chosen)
        with usage.stage("predict"):
            network = on_device(stored.model, torch_device)
            pair = pair_keypoints(network, inputs, torch_device)
            assert pair is not None
            maps = network.keypoint_alignments(pair[0], pair[1], names)
            exchanged = network.keypoint_alignments(pair[1], pair[0], names)
            results = {name: stored_prediction(maps[name], inputs) for name in names}
        axes = inputs.model_inputs[0].to_world[:-1, :-1]
        errors = {
            name: float(asymmetry(maps[name].forward, exchanged[name].forward, network.grid, axes)) for name in names
        }
        record = prediction_record(stored, chosen, Refinement(), seed, torch_device)
        record |= {"aligned": list(names), "asymmetry_mm": errors}
        record["keypoints"] = _keypoint_table(pair, inputs.model_inputs)
        for name, result in results.items():
            about = {**record, "align": name}
            results[name] = replace(result, settings=settings_table(inputs.settings), about=about)
            check_folding(inputs.pair, result.transform, torch.Generator().manual_seed(seed))
    notes, memory = pair_warnings(inputs.pair, texts), peak_gpu_memory_mb(torch_device)

    def registration(result: StoredTransform) -> Registration:
        own_usage = Usage(usage.threads, dict(usage.stages))  # each result adds the time of its export
        return Registration(result, inputs.pair, inputs.settings, seed, [], own_usage, memory, notes)

    return {name: registration(result) for name, result in results.items()}


def _keypoint_table(pair: Sequence[Keypoints], inputs: Sequence[ModelInput]) -> dict[str, Any]:
    """Return the keypoints of both images in their worlds, and the products of their weights, the largest 1."""
    positions = [_in_world(each.points[0], model_input) for each, model_input in zip(pair, inputs, strict=True)]
    weights = (pair[0].weights[0] * pair[1].weights[0]).double().cpu()
    weights = weights / weights.max().clamp_min(torch.finfo(torch.float64).tiny)
    return {"fixed": positions[0].tolist(), "moving": positions[1].tolist(), "weights": weights.tolist()}


def _in_world(points: Tensor, model_input: ModelInput) -> Tensor:
    return AffineTransform(model_input.to_world)(points.double().cpu())
