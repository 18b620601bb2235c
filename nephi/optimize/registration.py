"""Register one pair of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

import torch

from nephi.argument_types import checked
from nephi.errors import collected_warnings
from nephi.fields import FieldPair, FieldStep, StoredTransform, build_fields
from nephi.geometry import gradients_recorded
from nephi.io import ImageLike, ImagesLike, LabelsLike, PointPairsLike, channel_count
from nephi.optimize.affine import fit_affine
from nephi.optimize.contrast_check import checked_matching, with_mind_channels
from nephi.optimize.fit import fit_fields, threads_of_fit
from nephi.optimize.guides import pair_guides
from nephi.optimize.initial_alignment import initial_alignment, read_initial, require_overlap
from nephi.optimize.rotation_search import search_rotation
from nephi.optimize.start_search import Start, search_start
from nephi.optimize.trial_fits import choose_map
from nephi.preparation import (
    Pair,
    choose_initial,
    limit_to_overlap,
    pair_warnings,
    prepare_pair,
)
from nephi.report import progress_shown
from nephi.results import Registration, check_result
from nephi.runtime import (
    ProgressCallback,
    Usage,
    choose_device,
    fit_threads,
    peak_gpu_memory_mb,
    registration_threads,
    seeded_generator,
    versions,
)
from nephi.settings import MIRRORED, SEARCHED, Options, Settings, chosen_settings, settings_table, with_options
from nephi.transforms import AffineTransform, Transform


@checked
@gradients_recorded()
def register(
    fixed: ImagesLike,
    moving: ImagesLike,
    *,
    preset: str = "generic",
    settings: Settings | str | Path | None = None,
    fixed_mask: ImageLike | None = None,
    moving_mask: ImageLike | None = None,
    guide_landmarks: PointPairsLike | None = None,
    guide_labels: LabelsLike | None = None,
    initial: str | Path | Transform | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: ProgressCallback | bool = True,
    **options: Unpack[Options],
) -> Registration:
    """Register the moving image to the fixed one.

    Images and masks are paths, `Image` objects, or images of SimpleITK, nibabel or ANTs; arrays of numpy have no
    position: `Image.from_numpy(array, spacing=...)`. Lists of images are channels that are compared together: T1 and
    T2, for example, each on a grid of its own, in the same world; `settings.channels` gives each a similarity.

    `settings`, or their TOML file, replace `preset`; `options` (`nephi.settings.Options`: `similarity`, `window`,
    `transform`, `outside`, `threads`, `levels`) override both. `initial` is `auto`, `auto-mirrored`, `moments`,
    `centers`, `none`, `landmarks` (the rigid fit of `guide_landmarks`), or an affine transform from fixed to moving
    points (world mm, RAS) or its file; None: that of the settings.

    `guide_landmarks`, a file of pairs (LPS), `PointPairs`, or the points of both images (world mm, RAS), and
    `guide_labels`, the label maps of both images, each on a grid of its own, guide the registration, with the weights
    of `settings.guidance`; pairs of points that contradict the others lose their influence.

    The same seed and machine give the same result, also inside `torch.no_grad()`, `torch.inference_mode()` or
    `torch.autocast()`, with any default dtype of torch, and with any number of threads (up to rounding for fields
    without latent grids).

    `progress` is called after each step; True shows a bar in notebooks, False nothing.

    Raises `DataError` for images that cannot be registered, `UsageError` for an unknown preset, option, device or
    initial alignment, and for arguments of other types.
    """
    settings = with_options(chosen_settings(settings, preset), options, channel_count(fixed))
    torch_device, initial, generator = choose_device(device), read_initial(initial), seeded_generator(seed)
    usage = Usage(registration_threads(settings.threads))
    with (
        collected_warnings() as issued,
        fit_threads(settings.threads),
        progress_shown(progress) as progress,
    ):
        with usage.stage("prepare"):
            pair, settings = prepare_pair(
                fixed, moving, fixed_mask, moving_mask, settings, guide_landmarks, guide_labels
            )
        affine_steps, field_steps = _count_steps(settings)
        total = affine_steps + field_steps
        with usage.stage("affine"):
            initial = initial if initial is not None else choose_initial(pair, settings.affine.initial)
            searched = None
            if initial in SEARCHED:
                searched = search_start(pair, settings.affine, generator, mirrored=initial == MIRRORED)
            start = searched.transform if searched else initial_alignment(pair, initial, settings.guidance)
            pair = limit_to_overlap(pair, start, require_overlap(pair, start, generator))
            searches_rotation = initial in ("moments", "centers")
            affine = _fit_affine(pair, start, searches_rotation, settings, torch_device, generator, progress, total)
            facts: dict[str, str | float] = {}
            if searched is not None and not pair.guidance:
                affine, facts = _earned_map(pair, searched, affine, settings, torch_device, seed)
        fields, history = None, []
        if settings.transform == "deformable":
            with usage.stage("fit"):
                aligned = pair.with_moving_transformed(affine.inverse().matrix).to(torch_device)
                checked = checked_matching(aligned, settings, seed)
                if checked is not settings:
                    settings, pair, aligned = checked, with_mind_channels(pair), with_mind_channels(aligned)
                total = sum(_count_steps(settings))
                fields = build_fields(settings.field, pair.fixed.grid, generator).to(torch_device)
                with threads_of_fit(fields):
                    history = fit_fields(aligned, fields, settings, generator, progress, affine_steps, total)
                fields = fields.cpu().requires_grad_(False)
        about = _about(searched, facts | _reflection(affine, initial), seed, torch_device)
        stored = _stored_transform(pair, affine, fields, settings, about)
        check_result(pair, start, stored, settings.affine.smoothing[-1], not isinstance(initial, Transform), seed)
    return Registration(
        stored, pair, settings, seed, history, usage, peak_gpu_memory_mb(torch_device), pair_warnings(pair, issued)
    )


def _count_steps(settings: Settings) -> tuple[int, int]:
    affine = 0 if settings.affine.kind == "none" else settings.affine.steps * len(settings.affine.smoothing)
    return affine, sum(level.steps for level in settings.levels) if settings.transform == "deformable" else 0


def _fit_affine(
    pair: Pair,
    start: AffineTransform,
    searches_rotation: bool,
    settings: Settings,
    device: torch.device,
    generator: torch.Generator,
    progress: ProgressCallback,
    total: int,
) -> AffineTransform:
    """Return the affine map fitted from the initial alignment, or that alignment if the settings fit none."""
    kind = settings.affine.kind
    if kind == "none":
        return start
    if searches_rotation and settings.affine.rotations > 1:
        start = search_rotation(pair, start, settings.affine, generator)
    pair_on_device = pair.to(device)
    guides = pair_guides(pair_on_device, settings.guidance)
    aligned = fit_affine(pair_on_device, start, settings.affine, kind, generator, progress, total, guides)
    require_overlap(pair, aligned, generator)
    return aligned


def _earned_map(
    pair: Pair, searched: Start, affine: AffineTransform, settings: Settings, device: torch.device, seed: int
) -> tuple[AffineTransform, dict[str, str | float]]:
    """Return the fitted map or a simpler one that agrees as well, and facts about the choice."""
    if settings.transform != "deformable":
        return affine if searched.improved_by(affine) else searched.transform, {}
    choice = choose_map(pair, searched, affine, settings, device, seed)
    return choice.transform, choice.table()


def _stored_transform(
    pair: Pair, affine: AffineTransform, fields: FieldPair | None, settings: Settings, about: dict[str, Any]
) -> StoredTransform:
    return StoredTransform(
        affine=affine,
        fixed_grid=pair.fixed.grid,
        moving_grid=pair.moving.grid,
        steps=() if fields is None else (FieldStep(fields),),
        settings=settings_table(settings),
        about=about,
    )


def _reflection(affine: AffineTransform, initial: str | Transform) -> dict[str, str | float]:
    """Return the fact `mirrored` if a mirrored moving image was requested and found, else none."""
    return {"mirrored": True} if initial == MIRRORED and affine.handedness < 0 else {}


def _about(searched: Start | None, choice: dict[str, str | float], seed: int, device: torch.device) -> dict[str, Any]:
    """Return the facts that file and report of a registration contain."""
    facts = {"versions": versions(), "seed": seed, "device": device.type}
    return facts if searched is None else facts | {"initial_alignment": searched.table() | choice}
