"""The objective by kernels against the one by autograd."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nephi import kernels
from nephi.fields import FieldPair, FieldSettings, build_fields
from nephi.geometry import Grid
from nephi.images import Image, ImageSampler
from nephi.objective.fused import compiled_objective
from nephi.objective.objective import Draw, Level, add_gradient
from nephi.optimize import register
from nephi.phantoms import PhantomPair
from nephi.sampling import GridPoints, patch_offsets
from nephi.settings import Settings, preset
from nephi.settings.registration import LevelSettings

pytestmark = pytest.mark.skipif(not kernels.available(), reason="nephi was installed without compiled kernels")
Change = Callable[..., Settings]


def scene(dimension: int) -> tuple[FieldPair, Level, Draw]:
    """Two noisy images, fields away from the identity, and points of one step."""
    generator = torch.Generator().manual_seed(0)
    shape = (40, 36, 30)[:dimension]
    grid = Grid(shape, torch.diag(torch.tensor([*(1.2, 0.9, 1.5)[:dimension], 1.0], dtype=torch.float64)))
    images = [Image((1000 * torch.rand(shape, generator=generator)).to(torch.int16), grid) for _ in range(2)]
    fields = build_fields(FieldSettings(spacings=(20.0, 8.0), channels=4, hidden=8), grid, generator)
    with torch.no_grad():
        for parameter in fields.parameters():
            parameter += 0.5 * torch.randn(parameter.shape, generator=generator)
            parameter.grad = torch.zeros_like(parameter)
    samplers = [ImageSampler(image, (100.0, 800.0)) for image in images]
    draw = Draw(*(GridPoints(grid).draw(n, generator) for n in (50, 50, 15)))
    return fields, Level(samplers[0], samplers[1], patch_offsets(dimension, 1, 2.0)), draw


def gradient(fields: FieldPair, add: Callable[[], object]) -> list[Tensor]:
    for parameter in fields.parameters():
        assert parameter.grad is not None
        parameter.grad.zero_()
    add()
    return [parameter.grad.clone() for parameter in fields.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("points", [20, 1000])
@pytest.mark.parametrize("similarity", ["lncc2", "pooled", "lncc + 10 mse + 0.5 ncc"])
@pytest.mark.parametrize("dimension", [2, 3])
def test_terms_and_gradient_are_those_of_autograd(
    dimension: int, similarity: str, points: int, changed: Change
) -> None:
    settings = changed(
        preset("generic"),
        objective={
            "similarity": similarity,
            "regularization_points": points,
            "icon": 0.6,
            "folding": 50.0,
            "diffusion": 0.1,
        },
    )
    fields, level, draw = scene(dimension)
    compiled = compiled_objective(fields, settings)
    assert compiled is not None and compiled.serves(level, draw)
    expected_terms = add_gradient(fields, level, draw, settings, 0.5)
    terms = compiled.add_gradient(level, draw, 0.5)
    assert list(terms) == list(expected_terms)
    for name, term in terms.items():
        assert term == pytest.approx(expected_terms[name].item(), rel=1e-5, abs=1e-7), name
        assert term > 0, name
    expected = gradient(fields, lambda: add_gradient(fields, level, draw, settings, 0.5))
    found = gradient(fields, lambda: compiled.add_gradient(level, draw, 0.5))
    for a, b in zip(found, expected, strict=True):
        assert float(b.abs().max()) > 0
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-5 * float(b.abs().max()))


@pytest.mark.parametrize(
    "change",
    [
        {"objective": {"similarity": "nmi"}},
        {"objective": {"similarity": "mind", "radius": 2}},
        {"objective": {"similarity": "mse", "radius": 0}},
        {"objective": {"bending": 1.0}},
        {"objective": {"volume": 1.0}},
    ],
)
def test_settings_without_kernels_are_left_to_autograd(change: dict[str, dict[str, object]], changed: Change) -> None:
    fields, _, _ = scene(2)
    assert compiled_objective(fields, changed(preset("generic"), **change)) is None


def test_fields_without_kernels_are_left_to_autograd() -> None:
    fields, level, draw = scene(2)
    assert compiled_objective(FieldPair(fields.forward_field, None), preset("generic")) is None
    compiled = compiled_objective(fields, preset("generic"))
    assert compiled is not None
    halves = [ImageSampler(Image(s.image.data.half(), s.image.grid)) for s in (level.fixed, level.moving)]
    assert not compiled.serves(Level(halves[0], halves[1], level.offsets), draw)
    assert compiled_objective(fields.double(), preset("generic")) is None


def test_a_fit_is_the_same_by_either(
    shapes: PhantomPair, quick: Settings, changed: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few steps: rounding grows over many."""
    settings = replace(quick, levels=(LevelSettings(steps=15),))
    results = [register(shapes.fixed, shapes.moving, settings=settings)]
    monkeypatch.setattr("nephi.optimize.fit.compiled_objective", lambda fields, settings: None)
    results.append(register(shapes.fixed, shapes.moving, settings=settings))
    points = shapes.fixed.grid.voxel_centres(0, 128).reshape(-1, 2)
    gap = results[0].transform(points) - results[1].transform(points)
    assert float(gap.norm(dim=-1).max()) < 1e-3
    assert float((results[0].transform(points) - points).norm(dim=-1).max()) > 1
