"""The two methods of `nephi register`: affine alignment and fit, or the prediction of a model and its refinement."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .guide_options import GuideOptions
from .registration_options import RefineOptions, alignment_folder
from .transform_options import read_one

if TYPE_CHECKING:
    from nephi import Image, PointPairs, Registration, Settings, Transform
    from nephi.inference import Refinement
    from nephi.models import StoredModel
    from nephi.optimize import Plan, Progress

INITIALS = ("auto", "auto-mirrored", "moments", "centers", "none", "landmarks")
ProgressCallback = Callable[["Progress"], None]
Channels = Sequence[Sequence["Image"]]  # fixed images, then moving ones
Registrations = dict[str, "Registration"]  # by their folders in the output folder; the first one has none


@dataclass(frozen=True)
class FitMethod:
    """Affine alignment from `initial`, an option's value or the transform read from its file, and a fit."""

    settings: Settings
    initial_option: str | None
    initial: str | Transform | None
    folders: Sequence[str] = ("",)

    @property
    def initial_alignment(self) -> str:
        """The initial alignment as the plan shows it."""
        return self.initial_option or self.settings.affine.initial

    def plan(self, images: Channels, seed: int, **options: Any) -> Plan:
        """Return the plan of the registration."""
        import nephi

        return nephi.plan(*images, settings=self.settings, initial=self.initial, seed=seed, **options)

    def run(self, images: Channels, seed: int, progress: ProgressCallback, **options: Any) -> Registrations:
        """Register the images."""
        import nephi

        options |= {"settings": self.settings, "initial": self.initial}
        return {"": nephi.register(*images, seed=seed, progress=progress, **options)}


@dataclass(frozen=True)
class PredictionMethod:
    """The prediction of a model, and its refinement."""

    settings: Settings
    name: str
    model: StoredModel
    refinement: Refinement
    align: tuple[str, ...] = ()

    @property
    def initial_alignment(self) -> str:
        """The initial alignment as the plan shows it."""
        steps, rate = self.refinement.steps, self.refinement.rate
        optimized = f", its weights optimised by {steps} steps, learning rate {rate:g}"
        return f"prediction by {self.name}{optimized if self.refinement.optimizes_network else ''}"

    def plan(self, images: Channels, seed: int, **options: Any) -> Plan:
        """Return the plan of the registration, which does not depend on the seed."""
        import nephi

        return nephi.inference.plan_prediction(images[0], images[1], **options, **self._arguments())

    def run(self, images: Channels, seed: int, progress: ProgressCallback, **options: Any) -> Registrations:
        """Register the images, by all alignments at once."""
        import nephi

        if not self.align:
            options |= self._arguments()
            return {"": nephi.predict(images[0], images[1], seed=seed, progress=progress, **options)}
        options |= {"model": self.model, "settings": self.settings, "seed": seed}
        results = nephi.inference.predict_alignments(images[0][0], images[1][0], self.align, **options)
        return dict(zip(self.folders, results.values(), strict=True))

    @property
    def folders(self) -> list[str]:
        """The folder of each result in the output folder; the first result, or the only one, has none of its own."""
        return ["", *map(alignment_folder, self.align[1:])]

    def _arguments(self) -> dict[str, Any]:
        return {"model": self.model, "settings": self.settings, "refinement": self.refinement}


def choose_method(
    overrides: dict[str, Any], refine: RefineOptions, guide: GuideOptions, channels: int
) -> FitMethod | PredictionMethod:
    """Return the method for the options; read the model, or the file of `--initial`.

    Raises `UsageError` for options of the other method.
    """
    import nephi

    path, initial = overrides["model"], overrides["initial"]
    if path is None:
        if overrides["align"]:
            raise nephi.UsageError("--align: requires --model, a model with keypoints")
        if refine.names:
            verb = "requires" if len(refine.names) == 1 else "require"
            raise nephi.UsageError(f"{', '.join(refine.names)}: {verb} --model, whose prediction is refined")
        settings = guide.weighted(resolve_settings(overrides, nephi.preset("generic"), channels))
        return FitMethod(settings, initial, _read_initial(initial))
    for name in ("initial", "transform"):
        if overrides[name] is not None:
            raise nephi.UsageError(f"--{name}: not available with --model, which predicts the whole transform")
    model = nephi.read_model(path)
    settings = resolve_settings(overrides, nephi.inference.settings_for(model), channels)
    check_align_options(model, overrides["align"], refine)
    refinement = refine.refinement(overrides["similarity"][-1] if overrides["similarity"] else None)
    if channels > 1 and not refinement.fits_fields:
        raise nephi.UsageError("-f: several channels require --refine N with --model, whose prediction uses the first")
    if guide.names and not refinement.fits_fields:
        raise nephi.UsageError(
            f"{guide.names[0]}: requires --refine N with --model, and --refine-parameters codes or all, whose steps it "
            "guides"
        )
    return PredictionMethod(guide.weighted(settings), str(path), model, refinement, overrides["align"])


def check_align_options(model: StoredModel, align: tuple[str, ...], refine: RefineOptions) -> None:
    """Raise `UsageError` for alignments that the model does not have, and for their refinement."""
    import nephi

    if not align:
        return
    try:
        nephi.inference.check_align(model, align)
    except nephi.UsageError as error:
        raise nephi.UsageError(f"--{error}") from None
    if refine.names:
        raise nephi.UsageError(f"{refine.names[0]}: not available with --align, whose maps follow from the keypoints")


def save_results(
    results: Registrations,
    output: Path,
    save: Sequence[str],
    command_line: str | None,
    landmarks: PointPairs | None,
    labels: tuple[Image, Image] | None = None,
) -> Mapping[str, Any]:
    """Write results to their folders in `output`, replacing earlier ones; return the report of the first.

    The first result, in `output` itself, is written last: if its report exists, all others exist.
    """
    import nephi

    names = [name for name in save if name != "page"]
    report: Mapping[str, Any] = {}
    for folder, result in reversed(results.items()):
        page = partial(nephi.report.page_html, result, command=command_line or "", landmarks=landmarks)
        report = result.save(output / folder, True, landmarks, names, labels, page if "page" in save else None)
    return report


def resolve_settings(overrides: dict[str, Any], base: Settings, channels: int = 1) -> Settings:
    """Return the settings of the preset (default: `base`), overridden by `--config`, overridden by the options."""
    from dataclasses import replace

    import nephi

    preset, config = overrides["preset"], overrides["config"]
    settings = nephi.preset(preset) if preset else base
    if config:
        settings = nephi.read_settings(config, preset or base)
    similarities, windows = (overrides.get(name) or () for name in ("similarity", "window"))
    settings = with_channels(settings, similarities, windows, channels)
    image = {"outside": overrides["outside"]} if overrides.get("outside") is not None else {}
    top_level = {name: overrides[name] for name in ("transform", "threads") if overrides.get(name) is not None}
    return replace(settings, image=replace(settings.image, **image), **top_level)


def with_channels(
    settings: Settings, similarities: Sequence[str], windows: Sequence[tuple[float, float]], channels: int
) -> Settings:
    """Return the settings with the values of `--similarity` and `--window`: one for all channels, or one for each."""
    import nephi

    try:
        return nephi.settings.with_channel_values(settings, similarities, windows, channels)
    except nephi.UsageError as error:
        is_option = re.match("(similarity|window): expected one", str(error))  # not a name that is unknown
        raise nephi.UsageError(f"--{error}" if is_option else str(error)) from None


def _read_initial(value: str | None) -> str | Transform | None:
    if value is None or value in INITIALS:
        return value
    import nephi

    if not Path(value).suffix and not Path(value).exists():
        raise nephi.UsageError(f"--initial: expected {', '.join(INITIALS)} or a file, got {value!r}")
    transform = read_one(Path(value))
    if not _is_affine(transform):
        raise nephi.DataError(
            f"--initial: expected an affine transform, got a deformation in {value}; use a file of its affine part, or "
            "warp the moving image by `nephi apply` and register with --initial none"
        )
    return transform


def _is_affine(transform: Transform) -> bool:
    import nephi

    if isinstance(transform, nephi.Composite):
        return all(map(_is_affine, transform.transforms))
    return isinstance(transform, nephi.AffineTransform)
