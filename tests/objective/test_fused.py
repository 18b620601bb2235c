"""The objective by kernels against the reference by autograd."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from nephi import kernels
from nephi.fields import FieldPair, FieldSettings, build_fields
from nephi.geometry import Grid
from nephi.images import Image, ImageSampler
from nephi.objective import ComparedImages, SamplePoints, add_gradient, fused_objective
from nephi.objective.fused import FUSED_CHOICES, FUSED_WEIGHTS, SAMPLING_SETTINGS
from nephi.optimize import register
from nephi.phantoms import PhantomPair
from nephi.sampling import GridPoints, patch_offsets
from nephi.settings import FitObjectiveSettings, LevelSettings, Settings, preset

pytestmark = pytest.mark.skipif(not kernels.available(), reason="nephi was installed without compiled kernels")
Step = tuple[FieldPair, ComparedImages, SamplePoints]
BASE = FitObjectiveSettings(radius=2, regularization_points=20)


def step(dimension: int, radius: int = 1) -> Step:
    """Two noisy images, fields away from the identity, and the points of one step."""
    generator = torch.Generator().manual_seed(0)
    shape = (40, 36, 30)[:dimension]
    grid = Grid(shape, torch.diag(torch.tensor([*(1.2, 0.9, 1.5)[:dimension], 1.0], dtype=torch.float64)))
    images = [Image((1000 * torch.rand(shape, generator=generator)).to(torch.int16), grid) for _ in range(2)]
    pair = build_fields(FieldSettings(spacings=(20.0, 8.0), channels=4, hidden=8), grid, generator)
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter += 0.5 * torch.randn(parameter.shape, generator=generator)
            parameter.grad = torch.zeros_like(parameter)
    fixed, moving = (ImageSampler(image, (100.0, 800.0)) for image in images)
    points = SamplePoints(*(GridPoints(grid).draw(n, generator)[None] for n in (50, 50, 15)))
    return pair, ComparedImages([fixed], [moving], patch_offsets(dimension, radius, 2.0)), points


def gradients(pair: FieldPair, add: Callable[[], object]) -> list[Tensor]:
    for parameter in pair.parameters():
        assert parameter.grad is not None
        parameter.grad.zero_()
    add()
    return [parameter.grad.clone() for parameter in pair.parameters() if parameter.grad is not None]


def assert_agreement(scene: Step, settings: FitObjectiveSettings) -> dict[str, float]:
    """Compare values and gradients of both objectives; return the terms."""
    pair, images, points = scene
    fused = fused_objective(pair, settings)
    assert fused is not None and fused.supports(images, points)
    expected_terms = add_gradient(pair, images, points, settings, 0.5)
    terms = fused.add_gradient(images, points, 0.5)
    assert list(terms) == list(expected_terms)
    for name, term in terms.items():
        assert term == pytest.approx(expected_terms[name].item(), rel=1e-5, abs=1e-7), name
        assert term > 0, name
    expected = gradients(pair, lambda: add_gradient(pair, images, points, settings, 0.5))
    found = gradients(pair, lambda: fused.add_gradient(images, points, 0.5))
    for a, b in zip(found, expected, strict=True):
        assert float(b.abs().max()) > 0
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-5 * float(b.abs().max()))
    return terms


@pytest.mark.parametrize("points", [0, 20, 1000])
@pytest.mark.parametrize("similarity", ["lncc2", "pooled", "lncc + 10 mse + 0.5 ncc"])
@pytest.mark.parametrize("dimension", [2, 3])
def test_terms_and_gradients_are_those_of_the_reference(dimension: int, similarity: str, points: int) -> None:
    settings = FitObjectiveSettings(
        similarity=similarity, regularization_points=points, icon=0.6, folding=50.0, diffusion=0.1, total_variation=0.2
    )
    assert_agreement(step(dimension), settings)


@dataclass(frozen=True)
class Row:
    """Another value of one setting: whether the kernels compute the objective then, and the term that it weighs."""

    value: Any
    fused: bool
    term: str | None = None


ROWS = {
    "similarity": Row("mse", True),
    "variance_floor": Row(0.3, True),
    "points": Row(50, True),
    "fraction": Row(0.5, True),
    "radius": Row(1, True),
    "regularization_points": Row(40, True),
    "background_points": Row(0, True),
    "bending_step": Row(1.0, True),
    "gradicon": Row(2.0, True, "gradicon"),
    "icon": Row(3.0, True, "icon"),
    "folding": Row(50.0, True, "folding"),
    "diffusion": Row(0.5, True, "diffusion"),
    "total_variation": Row(0.5, True, "total_variation"),
    "volume": Row(0.5, False, "volume"),
    "bending": Row(5.0, False, "bending"),
    "codes": Row(0.1, False, "codes"),
    "code_norms": Row(0.1, False, "code_norms"),
    "outside": Row("dark", False),
}


def test_every_setting_has_a_row() -> None:
    assert set(ROWS) == {field.name for field in fields(FitObjectiveSettings)}
    assert {name for name, row in ROWS.items() if row.term and row.fused} == set(FUSED_WEIGHTS)
    assert {name for name, row in ROWS.items() if row.term is None} == {*SAMPLING_SETTINGS, *FUSED_CHOICES}


@pytest.mark.parametrize("name", [field.name for field in fields(FitObjectiveSettings)])
def test_every_setting_takes_the_kernels_or_the_reference(name: str) -> None:
    row = ROWS[name]
    settings = replace(BASE, **{name: row.value})
    assert settings != BASE
    pair, images, points = step(2, settings.radius)
    if row.fused:
        terms = assert_agreement((pair, images, points), settings)
    else:
        assert fused_objective(pair, settings) is None
        terms = {key: float(term) for key, term in add_gradient(pair, images, points, settings, 0.5).items()}
    assert row.term is None or terms[row.term] > 0
    if row.term:  # the weight scales its term, and without it the term is left out
        doubled = add_gradient(pair, images, points, replace(settings, **{name: 2 * row.value}), 0.5)
        assert float(doubled[row.term]) == pytest.approx(2 * terms[row.term], rel=1e-5)
        without = add_gradient(pair, images, points, replace(settings, **{name: 0.0}), 0.5)
        assert row.term not in without


@dataclass(frozen=True)
class LaterSettings(FitObjectiveSettings):
    """Settings with a weight that the kernels do not compute."""

    later: float = 0.0


def test_a_weight_that_is_not_listed_takes_the_reference() -> None:
    pair, _, _ = step(2)
    assert fused_objective(pair, LaterSettings()) is not None
    assert fused_objective(pair, LaterSettings(later=1e-6)) is None


@pytest.mark.parametrize(
    "change", [{"similarity": "nmi"}, {"similarity": "mind", "radius": 2}, {"similarity": "mse", "radius": 0}]
)
def test_a_similarity_without_kernel_takes_the_reference(change: dict[str, Any]) -> None:
    assert fused_objective(step(2)[0], replace(BASE, **change)) is None


def test_fields_and_images_without_kernels_take_the_reference() -> None:
    pair, images, points = step(2)
    assert fused_objective(pair.forward_only(), BASE) is None
    fused = fused_objective(pair, BASE)
    assert fused is not None
    halves = [ImageSampler(Image(s.image.data.half(), s.image.grid)) for s in (*images.fixed, *images.moving)]
    assert not fused.supports(ComparedImages(halves[:1], halves[1:], images.offsets), points)
    assert fused_objective(pair.double(), BASE) is None


@pytest.mark.parametrize("name", ["generic", "brain-mri"])
def test_presets_take_the_kernels(name: str) -> None:
    assert fused_objective(step(2)[0], preset(name).objective) is not None


def test_a_fit_is_the_same_by_either(shapes: PhantomPair, quick: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps: rounding grows over many."""
    settings = replace(quick, levels=(LevelSettings(steps=15),))
    results = [register(shapes.fixed, shapes.moving, settings=settings)]
    monkeypatch.setattr("nephi.optimize.fit.fused_objective", lambda *arguments: None)
    results.append(register(shapes.fixed, shapes.moving, settings=settings))
    points = shapes.fixed.grid.voxel_centres(0, 128).reshape(-1, 2)
    gap = results[0].transform(points) - results[1].transform(points)
    assert float(gap.norm(dim=-1).max()) < 1e-3
    assert float((results[0].transform(points) - points).norm(dim=-1).max()) > 1
