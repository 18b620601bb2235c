"""Several channels in one objective: their mean, by kernels and by the reference, and images that show only a part."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nephi import kernels
from nephi.geometry import Grid
from nephi.images import Image, ImageSampler
from nephi.objective import ComparedChannel, ComparedImages, add_gradient, fused_objective
from nephi.sampling import patch_offsets
from nephi.settings import FitObjectiveSettings

from .test_fused import Step, gradients, step

SETTINGS = FitObjectiveSettings(radius=1, regularization_points=20)


def second_channel(scene: Step, dimension: int, settings: FitObjectiveSettings, crop: int) -> ComparedChannel:
    """Other noise on a coarser grid that lacks the lower part of the first channel's along its first axis."""
    generator = torch.Generator().manual_seed(5)
    grid = scene[1].fixed[0].image.grid
    shape = (20 - crop, 18, 15)[:dimension]
    affine = grid.affine.clone()
    affine[:-1, :-1] *= 2
    affine[:-1, -1] = grid.voxel_to_world_points(torch.tensor([2.0 * crop + 0.5, *[0.5] * (dimension - 1)]).double())
    samplers = [
        ImageSampler(Image(torch.rand(shape, generator=generator), Grid(shape, affine)), (0.1, 0.9)) for _ in range(2)
    ]
    offsets = patch_offsets(dimension, settings.patch_radius(dimension), 3.0)
    return ComparedChannel(ComparedImages(samplers[:1], samplers[1:], offsets), settings)


def with_channels(scene: Step, *channels: ComparedChannel) -> Step:
    return scene[0], replace(scene[1], channels=channels), scene[2]


@pytest.mark.parametrize("by_kernels", [False, True])
@pytest.mark.parametrize("dimension", [2, 3])
def test_the_same_channel_twice_is_one_channel(dimension: int, by_kernels: bool) -> None:
    if by_kernels and not kernels.available():
        pytest.skip("nephi was installed without compiled kernels")
    scene = step(dimension, SETTINGS.patch_radius(dimension))
    pair, images, points = scene
    twice = replace(images, channels=(ComparedChannel(images, SETTINGS),))

    def add(compared: ComparedImages) -> Mapping[str, float | Tensor]:
        if by_kernels:
            return add_by_kernels((pair, compared, points))
        return add_gradient(pair, compared, points, SETTINGS, 0.5)

    one, both = add(images), add(twice)
    assert list(both) == ["similarity", "similarity_2", *list(one)[1:]]
    assert float(both["similarity"] + both["similarity_2"]) == pytest.approx(float(one["similarity"]), rel=1e-5)
    expected, found = gradients(pair, lambda: add(images)), gradients(pair, lambda: add(twice))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-5 * float(b.abs().max()))


def add_by_kernels(scene: Step) -> dict[str, float]:
    pair, images, points = scene
    fused = fused_objective(pair, SETTINGS, [channel.settings for channel in images.channels])
    assert fused is not None and fused.supports(images, points)
    return fused.add_gradient(images, points, 0.5)


@pytest.mark.skipif(not kernels.available(), reason="nephi was installed without compiled kernels")
@pytest.mark.parametrize("dimension", [2, 3])
def test_kernels_compute_the_channels_of_the_reference(dimension: int) -> None:
    other = replace(SETTINGS, similarity="0.3 pooled + mse")
    scene = step(dimension, SETTINGS.patch_radius(dimension))
    pair, images, points = with_channels(scene, second_channel(scene, dimension, other, crop=6))
    expected = add_gradient(pair, images, points, SETTINGS, 0.5)
    terms = add_by_kernels((pair, images, points))
    assert list(terms) == list(expected)
    for name, term in terms.items():
        assert term == pytest.approx(expected[name].item(), rel=1e-4, abs=1e-7), name
    by_reference = gradients(pair, lambda: add_gradient(pair, images, points, SETTINGS, 0.5))
    for a, b in zip(gradients(pair, lambda: add_by_kernels((pair, images, points))), by_reference, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-5 * float(b.abs().max()))


def test_a_channel_without_kernel_takes_the_reference() -> None:
    pair, _, _ = step(2)
    mind = replace(SETTINGS, similarity="mind", radius=2)
    assert fused_objective(pair, SETTINGS, [SETTINGS]) is not None or not kernels.available()
    assert fused_objective(pair, SETTINGS, [SETTINGS, mind]) is None


def test_points_that_a_channel_does_not_show_do_not_count() -> None:
    """Points outside of the second channel, replaced by others outside of it, leave its term as it is."""
    scene = step(2, 2)
    pair, images, points = with_channels(scene, second_channel(scene, 2, SETTINGS, crop=8))
    channel = images.channels[0].images
    shown = channel.fixed[0].contains(points.fixed[0])
    assert 5 < int(shown.sum()) < 40
    hidden = points.fixed.clone()
    hidden[0, ~shown] = hidden[0, ~shown][:1]
    values = [
        add_gradient(pair, images, replace(points, fixed=fixed), SETTINGS, 0.5)["similarity_2"]
        for fixed in (points.fixed, hidden)
    ]
    assert float(values[0]) == pytest.approx(float(values[1]), rel=1e-6)


def test_channels_of_single_points_and_of_patches() -> None:
    """A global measure of single points beside MIND, whose patches need Jacobians."""
    single = FitObjectiveSettings(similarity="ncc", radius=0, regularization_points=20)
    mind = FitObjectiveSettings(similarity="mind", radius=2)
    scene = step(2, 0)
    pair, images, points = with_channels(scene, second_channel(scene, 2, mind, crop=0))
    terms = add_gradient(pair, images, points, single, 0.5)
    alone = add_gradient(pair, scene[1], points, single, 0.5)
    assert float(terms["similarity"]) == pytest.approx(0.5 * float(alone["similarity"]), rel=1e-5)
    assert float(terms["similarity_2"]) > 0
