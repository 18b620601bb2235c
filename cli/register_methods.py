"""The two ways of `nephi register`: a search and a fit, or the prediction of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .model_options import RefineOptions
from .options import read_one

if TYPE_CHECKING:
    from nephi import Image, Registration, Settings, Transform
    from nephi.inference import Refinement
    from nephi.models import StoredModel
    from nephi.optimize import Plan, Progress

INITIALS = ("moments", "centers", "none")
Show = Callable[["Progress"], None]


@dataclass(frozen=True)
class Fitting:
    """An affine search from `initial`, and a fit."""

    settings: Settings
    initial: str | None
    start: str | Transform | None

    @property
    def begins(self) -> str:
        """What it starts from, in words."""
        return self.initial or self.settings.affine.initial

    def plan(self, images: list[Image], seed: int, **options: Any) -> Plan:
        """Return what it would do."""
        import nephi

        return nephi.plan(*images, settings=self.settings, initial=self.start, seed=seed, **options)

    def run(self, images: list[Image], seed: int, progress: Show, **options: Any) -> Registration:
        """Do it."""
        import nephi

        options |= {"settings": self.settings, "initial": self.start}
        return nephi.register(*images, seed=seed, progress=progress, **options)


@dataclass(frozen=True)
class Predicting:
    """What a model says, and its refinement."""

    settings: Settings
    name: str
    model: StoredModel
    refinement: Refinement

    @property
    def begins(self) -> str:
        """What it starts from, in words."""
        return f"prediction by {self.name}"

    def plan(self, images: list[Image], seed: int, **options: Any) -> Plan:
        """Return what it would do; that does not depend on the seed."""
        import nephi

        return nephi.inference.plan_prediction(images[0], images[1], **options, **self._own())

    def run(self, images: list[Image], seed: int, progress: Show, **options: Any) -> Registration:
        """Do it."""
        import nephi

        return nephi.predict(images[0], images[1], seed=seed, progress=progress, **options, **self._own())

    def _own(self) -> dict[str, Any]:
        return {"model": self.model, "settings": self.settings, "refinement": self.refinement}


def chosen_method(overrides: dict[str, Any], refine: RefineOptions) -> Fitting | Predicting:
    """Return what the options ask for; the model and a transform to start from are read."""
    import nephi

    path, initial = overrides["model"], overrides["initial"]
    if path is None:
        if refine.given:
            raise nephi.UsageError("--refine and --refine-what: need --model, the model whose prediction is refined")
        return Fitting(chosen_settings(overrides, nephi.preset("generic")), initial, _initial(initial))
    for name in ("initial", "transform"):
        if overrides[name] is not None:
            raise nephi.UsageError(f"--{name}: does not go with --model, which predicts the whole transform")
    model = nephi.read_model(path)
    return Predicting(
        chosen_settings(overrides, nephi.inference.settings_for(model)), str(path), model, refine.refinement()
    )


def chosen_settings(overrides: dict[str, Any], base: Settings) -> Settings:
    """Return the preset's settings (`base`, where none is named), overridden by the file, overridden by the options."""
    from dataclasses import replace

    import nephi

    preset, config = overrides["preset"], overrides["config"]
    settings = nephi.preset(preset) if preset else base
    if config:
        settings = nephi.read_settings(config, preset or base)
    if overrides.get("similarity"):
        settings = nephi.settings.with_similarity(settings, overrides["similarity"])
    image = {name: overrides[name] for name in ("window", "outside") if overrides.get(name) is not None}
    whole = {name: overrides[name] for name in ("transform", "threads") if overrides.get(name) is not None}
    return replace(settings, image=replace(settings.image, **image), **whole)


def _initial(value: str | None) -> str | Transform | None:
    if value is None or value in INITIALS:
        return value
    import nephi

    if not Path(value).suffix and not Path(value).exists():
        raise nephi.UsageError(f"--initial: expected {', '.join(INITIALS)} or a file, found {value!r}")
    transform = read_one(Path(value))
    if not _is_affine(transform):
        raise nephi.DataError(
            f"{value}: expected an affine transform to start from, found a deformation; give --initial the affine part "
            "alone, if there is a file of it, or bring the moving image there by `nephi apply` and start with "
            "--initial none"
        )
    return transform


def _is_affine(transform: Transform) -> bool:
    import nephi

    if isinstance(transform, nephi.Composite):
        return all(map(_is_affine, transform.transforms))
    return isinstance(transform, nephi.AffineTransform)
