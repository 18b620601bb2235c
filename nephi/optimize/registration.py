"""Registering one pair of images."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nephi.errors import UsageError, collected_warnings
from nephi.fields import FieldPair, FieldStep, StoredTransform, build_fields
from nephi.geometry import PointPairs, gradients_recorded
from nephi.images import LABEL_INTERPOLATIONS, Image, resample, warn_of_units
from nephi.optimize.affine import fit_affine, initial_alignment, require_overlap
from nephi.optimize.device import choose_device, cpu_threads
from nephi.optimize.export import OUTPUTS, save_registration
from nephi.optimize.field_of_view import suited_initial, within_moving
from nephi.optimize.fit import fit_fields
from nephi.optimize.pair import Pair
from nephi.optimize.preparation import Source, prepare
from nephi.optimize.progress import ProgressCallback, silent
from nephi.optimize.result_checks import check_result
from nephi.optimize.search import search_rotation
from nephi.optimize.settings import Settings
from nephi.optimize.settings_file import preset as preset_settings
from nephi.optimize.settings_file import settings_table
from nephi.optimize.usage import Usage, peak_gpu_memory_mb
from nephi.transforms import AffineTransform, Transform


@dataclass(frozen=True, eq=False)
class Registration:
    """The result of `register`, or of a prediction.

    `stored` is what goes into `transform.nephi`; `history` has for each step a row of the level (counted from 0), the
    loss and its terms; `usage` the seconds of each stage; `warnings` the texts of every `DataWarning` about the images,
    their masks and the result.
    """

    stored: StoredTransform
    pair: Pair
    settings: Settings
    seed: int
    history: list[dict[str, float]] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    gpu_memory_mb: float | None = None
    warnings: tuple[str, ...] = ()

    @property
    def transform(self) -> Transform:
        """phi: fixed points to moving points (world mm, RAS)."""
        return self.stored.transform

    @property
    def inverse(self) -> Transform:
        """The inverse: moving points to fixed points (world mm, RAS)."""
        return self.stored.inverse

    def warp(self, image: Image, interpolation: str = "linear", outside: float | None = None) -> Image:
        """Return an image from the moving side (the moving image, its labels, ...) on the fixed grid.

        `outside` is the value of voxels from outside the image; by default 0 with the interpolations for labels,
        `label` and `nearest`, and the settings' `image.outside` with the others.
        """
        if image.dimension != self.transform.dimension:
            raise UsageError(
                f"{image.name}: expected a {self.transform.dimension}-D image, got a {image.dimension}-D one"
            )
        if outside is None:
            outside = 0.0 if interpolation in LABEL_INTERPOLATIONS else self.settings.image.outside
            warn_of_units(image, outside)
        return resample(image, self.pair.fixed.grid, self.transform, interpolation, outside)

    def save(
        self,
        folder: str | Path,
        overwrite: bool = False,
        landmarks: PointPairs | None = None,
        outputs: Collection[str] = tuple(OUTPUTS),
        labels: tuple[Image, Image] | None = None,
        page: Callable[[Mapping[str, Any]], str] | None = None,
    ) -> Mapping[str, Any]:
        """Write transform, displacement fields, warped image and report to `folder`; return the report.

        All files appear together: a missing folder in one rename, in an existing one older results go before the first
        new one comes, and report.json comes last.

        `outputs` chooses among them by the names in `nephi.OUTPUTS`; folding and inverse consistency are measured where
        `warp`, `warped` or `report` is chosen. The errors of `landmarks` (world mm, RAS) and the overlap of `labels`
        (fixed, moving), which measure the result and do not guide it, join the report. `page` computes the text of
        report.html from the report (`nephi.page_html`), to be written with the others.

        Raises `DataError` for a folder that cannot be written, or is not empty and `overwrite` is false, and for
        landmarks or labels of another dimension; `UsageError` for unknown outputs or none.
        """
        return save_registration(self, Path(folder), overwrite, landmarks, outputs, labels, page)


@gradients_recorded()
def register(
    fixed: Source,
    moving: Source,
    *,
    preset: str = "generic",
    settings: Settings | None = None,
    fixed_mask: Source | None = None,
    moving_mask: Source | None = None,
    initial: str | Transform | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: ProgressCallback = silent,
) -> Registration:
    """Register the moving image to the fixed one.

    Images and masks are `Image` objects or files. `settings`, when given, take the place of `preset`. `initial` is
    `moments`, `centers`, `none`, or an affine transform that takes fixed to moving points (world mm, RAS);
    None leaves it to the settings. The same seed, machine and number of threads give the same result, also inside
    `torch.no_grad()`, `torch.inference_mode()` or `torch.autocast()`, and whatever torch's default dtype is.

    Raises `DataError` for unsuitable images, `UsageError` for an unknown preset, device or initial alignment.
    """
    chosen = settings or preset_settings(preset)
    where = choose_device(device)
    usage = Usage()
    with collected_warnings() as found, cpu_threads(chosen.threads):
        with usage.stage("prepare"):
            pair, chosen = prepare(fixed, moving, fixed_mask, moving_mask, chosen)
        generator = torch.Generator().manual_seed(seed)
        affine_steps, field_steps = _planned_steps(chosen)
        total = affine_steps + field_steps
        with usage.stage("affine"):
            pair, start, affine = _global_alignment(pair, chosen, initial, where, generator, progress, total)
        fields, history = None, []
        if chosen.transform == "deformable":
            with usage.stage("fit"):
                fields = build_fields(chosen.field, pair.fixed.grid, generator).to(where)
                aligned = pair.with_moving_carried(affine.inverse().matrix).to(where)
                history = fit_fields(aligned, fields, chosen, generator, progress, affine_steps, total)
                fields = fields.cpu().requires_grad_(False)
        stored = _stored(pair, affine, fields, chosen, seed, where)
        check_result(pair, start, stored, chosen.affine.smoothing[-1], not isinstance(initial, Transform), seed)
    return Registration(
        stored, pair, chosen, seed, history, usage, peak_gpu_memory_mb(where), warnings_about(pair, found)
    )


def warnings_about(pair: Pair, found: Iterable[str]) -> tuple[str, ...]:
    """Return the warnings of the pair's images and masks, then those `found` on the way, each once."""
    images = (pair.fixed, pair.moving, pair.fixed_mask, pair.moving_mask)
    read = [text for image in images if image is not None for text in image.warnings]
    return tuple(dict.fromkeys([*read, *found]))


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    from importlib import metadata

    found = {name: metadata.version(name) for name in ("nephi", "torch", "numpy")}
    return {**found, "python": platform.python_version()}


def _planned_steps(settings: Settings) -> tuple[int, int]:
    affine = 0 if settings.affine.kind == "none" else settings.affine.steps * len(settings.affine.smoothing)
    return affine, sum(level.steps for level in settings.levels) if settings.transform == "deformable" else 0


def _global_alignment(
    pair: Pair,
    settings: Settings,
    initial: str | Transform | None,
    device: torch.device,
    generator: torch.Generator,
    progress: ProgressCallback,
    total: int,
) -> tuple[Pair, AffineTransform, AffineTransform]:
    """Return the pair, its fixed mask kept to where the moving image lies, the affine fit's start, and its result.

    The start is that before the search of rotations.
    """
    initial = initial if initial is not None else suited_initial(pair, settings.affine.initial)
    start = initial_alignment(pair, initial)
    pair = within_moving(pair, start, require_overlap(pair, start, generator))
    kind = settings.affine.kind if settings.transform == "deformable" else settings.transform
    if kind == "none":
        return pair, start, start
    turned = start
    if initial in ("moments", "centers") and settings.affine.rotations > 1:
        turned = search_rotation(pair, start, settings.affine, generator)
    aligned = fit_affine(pair.to(device), turned, settings.affine, kind, generator, progress, total)
    require_overlap(pair, aligned, generator)
    return pair, start, aligned


def _stored(
    pair: Pair, affine: AffineTransform, fields: FieldPair | None, settings: Settings, seed: int, device: torch.device
) -> StoredTransform:
    return StoredTransform(
        affine=affine,
        fixed_grid=pair.fixed.grid,
        moving_grid=pair.moving.grid,
        steps=() if fields is None else (FieldStep(fields, settings.field, pair.fixed.grid),),
        settings=settings_table(settings),
        about={"versions": versions(), "seed": seed, "device": device.type, "threads": torch.get_num_threads()},
    )
