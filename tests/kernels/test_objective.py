"""Test the kernel of a whole objective; `tests/objective/test_fused.py` compares it with the reference."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nephi import kernels
from nephi.fields.compiled import Compiled
from nephi.kernels import ChannelPatches, PairObjective, PatchFrame
from tests.kernels.test_field import points_in_and_around, random_field

WEIGHTS = (0.5, 0.1, 3.0, 0.2, 0.1)


def channel(images_dimension: int, frame_dimensions: tuple[int, int], generator: torch.Generator) -> ChannelPatches:
    shape = (31, 26, 22)[:images_dimension]
    images = [(1000 * torch.rand(shape, generator=generator)).to(torch.int16) for _ in range(2)]
    frames = [
        PatchFrame(
            torch.eye(d, dtype=torch.float32),
            torch.zeros(d, dtype=torch.float32),
            torch.rand(9, d, generator=generator),
        )
        for d in frame_dimensions
    ]
    window = (100.0, 900.0)
    return ChannelPatches(
        (images[0], images[1]), (window, window), (frames[0], frames[1]), {"lncc2": 0.4, "mse": 2.0}, (1e-3, 1e-5), True
    )


def results(dimension: int, count: int) -> list[Tensor]:
    """Return the terms and the gradients of both fields, which differ, with fewer centres in the second image."""
    generator = torch.Generator().manual_seed(3)
    fields = [random_field(dimension, channels=4) for _ in range(2)]
    first, second = (Compiled().arrays(field) for field in fields)
    assert first is not None and second is not None
    for field in fields:
        for parameter in field.parameters():
            parameter.grad = torch.zeros_like(parameter)
    channels = [channel(dimension, (dimension, dimension), generator) for _ in range(2)]
    objective = PairObjective((first, second), channels, 40, 0.1, 1e-3)
    points = [points_in_and_around(fields[0], number) for number in (17, count, count // 2)]
    similarities, penalties = objective.add_gradient(points[0], points[1], points[2], WEIGHTS)
    assert len(similarities) == 2 and len(penalties) == len(kernels.PENALTIES)
    gradients = [p.grad for field in fields for p in field.parameters() if p.grad is not None]
    assert all(float(gradient.abs().max()) > 0 for gradient in gradients)
    return [torch.tensor([*similarities, *penalties], dtype=torch.float64), *gradients]


@pytest.mark.parametrize("dimension", [2, 3])
def test_results_are_the_same_bytes_for_any_number_of_threads(dimension: int) -> None:
    expected: list[Tensor] = []
    for count in (1, 2, 3):
        with kernels.kernel_threads(count):
            found = results(dimension, 700)
        expected = expected or found
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)), count


@pytest.mark.parametrize(("images", "frames"), [(2, (3, 3)), (3, (3, 2)), (2, (2, 2))])
def test_images_and_patches_of_another_dimension_are_refused(images: int, frames: tuple[int, int]) -> None:
    arrays = [Compiled().arrays(random_field(3, channels=4)) for _ in range(2)]
    assert arrays[0] is not None and arrays[1] is not None
    with pytest.raises(TypeError, match="channels: expected"):
        PairObjective((arrays[0], arrays[1]), [channel(images, frames, torch.Generator())], 0, 0.1, 1e-3)


@pytest.mark.parametrize("name", ["background", "fixed", "moving"])
def test_points_of_another_shape_are_refused(name: str) -> None:
    arrays = [Compiled().arrays(random_field(3, channels=4)) for _ in range(2)]
    assert arrays[0] is not None and arrays[1] is not None
    objective = PairObjective(
        (arrays[0], arrays[1]), [channel(3, (3, 3), torch.Generator().manual_seed(0))], 5, 0.1, 1e-3
    )
    points = {each: torch.zeros(8, 3, dtype=torch.float32) for each in ("background", "fixed", "moving")}
    points[name] = points[name][:, :2]
    with pytest.raises(TypeError, match=f"{name}: expected"):
        objective.add_gradient(**points, weights=WEIGHTS)
